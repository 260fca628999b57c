"""Which checkouts use a store: each is noted when a command uses the store from it, as Nix notes its indirect roots.

A note is a file under `roots/` that holds the checkout's path. A checkout that is gone is no root any more.
"""

from pathlib import Path

from harness.errors import UsageError
from harness.record.files import write_atomically
from harness.record.hashing import digest_of
from harness.spec.digest import hexadecimal
from harness.store.store import Store

FOLDER = "roots"
LOCKS = "lockfiles"


def note_checkout(store: Store, root: Path) -> None:
    """Note that the checkout `root` uses the store; nothing where it has no lockfiles.

    Raises:
        PrerequisiteError: the store's disk is full.
    """
    root = root.resolve()
    if not (root / LOCKS).is_dir():
        return
    data = str(root).encode(errors="surrogateescape")
    path = store.home / FOLDER / hexadecimal(digest_of(data))[:32]
    if path.exists():
        return
    with store.explaining():
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, data)


def noted_checkouts(store: Store) -> dict[Path, Path | None]:
    """The notes, each with its checkout, or null where that is gone.

    Raises:
        UsageError: whether a checkout is there cannot be told.
    """
    found: dict[Path, Path | None] = {}
    folder = store.home / FOLDER
    for note in sorted(folder.iterdir()) if folder.is_dir() else []:
        if note.name.startswith("."):
            continue  # being written
        root = Path(note.read_bytes().decode(errors="surrogateescape"))
        try:
            (root / LOCKS).stat()
        except (FileNotFoundError, NotADirectoryError):
            found[note] = None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"Whether the checkout {root} still uses the store cannot be told: {reason}",
                hint=f"Make it readable, or remove {note} if it does not.",
            ) from error
        else:
            found[note] = root
    return found
