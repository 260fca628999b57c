"""A wheel that differs from another by one line, and a checkout whose lock names it: what a day's change looks like."""

import io
import shutil
import zipfile
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import msgspec

from harness.locking.python import LockedWheel, encode_python_lock, read_python_lock
from harness.store.store import Store


def changed_wheel(data: bytes, line: str) -> bytes:
    """The wheel in `data` with `line` at the end of its first module, and a RECORD that says so."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        module = next(name for name in old.namelist() if name.endswith(".py"))
        text = old.read(module) + f"\n{line}\n".encode()
        checksum = urlsafe_b64encode(sha256(text).digest()).decode().rstrip("=")
        for info in old.infolist():
            content = text if info.filename == module else old.read(info)
            if info.filename.endswith(".dist-info/RECORD"):
                rows = content.decode().splitlines()
                row = f"{module},sha256={checksum},{len(text)}"
                content = "".join(
                    f"{row if old_row.startswith(f'{module},') else old_row}\n" for old_row in rows
                ).encode()
            new.writestr(info, content)
    return target.getvalue()


class Changed:
    """A checkout in `folder` like the checkout `root`; each `change` gives one image of it another wheel `name`."""

    def __init__(self, root: Path, folder: Path, image: str, name: str) -> None:
        self.root = folder
        self.locks = folder / "lockfiles" / image
        for part in ("docker", "lockfiles"):
            shutil.copytree(root / part, folder / part)
        self._name = name
        self._number = 0

    @property
    def wheels(self) -> tuple[LockedWheel, ...]:
        """What the lock names now."""
        return read_python_lock(self.locks / "python.txt").wheels

    def change(self, store: Store) -> None:
        """Change the wheel by one more line, in the store and in the lock; `image.lock` is not touched."""
        self._number += 1
        lock = read_python_lock(self.locks / "python.txt")
        old = next(wheel for wheel in lock.wheels if wheel.name == self._name)
        digest = store.put_bytes(changed_wheel(store.read_bytes(old.digest), f"# {self._number}"))
        wheels = tuple(msgspec.structs.replace(old, digest=digest) if wheel is old else wheel for wheel in lock.wheels)
        (self.locks / "python.txt").write_bytes(encode_python_lock(msgspec.structs.replace(lock, wheels=wheels)))
