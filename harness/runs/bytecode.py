"""Compiled Python for an image, made once by the image's own interpreter and mounted read-only afterwards.

Bytecode is not part of an image: what a compiler writes depends on the interpreter that happens to build, and the
image's digest must not. Without it every run would compile its libraries anew, ten seconds for the CPU image.
"""

from pathlib import Path

from harness.engines.interface import Engine
from harness.errors import HarnessError, ToolError
from harness.record.files import write_atomically
from harness.runs.inputs import mount_tree
from harness.spec.digest import hexadecimal, parse_digest
from harness.spec.run import ImageReference, Mount, Resources, RunSpec
from harness.store.progress import Progress
from harness.store.store import Store
from harness.store.trees import put_tree

NAME = "bytecode"


def bytecode_mount(
    image: ImageReference, *, code: Mount, engine: Engine, resources: Resources, store: Store, progress: Progress
) -> Mount | None:
    """The image's bytecode as an input of a run; null where it could not be made, which costs time and nothing else."""
    known = store.home / NAME / hexadecimal(image.manifest)
    try:
        return mount_tree(store, NAME, parse_digest(known.read_text()))
    except (OSError, HarnessError):
        known.unlink(missing_ok=True)
    with store.lock(f"{NAME}-{hexadecimal(image.manifest)}"):
        if not known.exists():
            try:
                _make(image, known, code=code, engine=engine, resources=resources, store=store, progress=progress)
            except HarnessError as error:
                progress.note(
                    f"The image's libraries could not be compiled ahead ({error.message}); runs start slower."
                )
                return None
    return mount_tree(store, NAME, parse_digest(known.read_text()))


def _make(
    image: ImageReference,
    known: Path,
    *,
    code: Mount,
    engine: Engine,
    resources: Resources,
    store: Store,
    progress: Progress,
) -> None:
    """Let the image's interpreter import its own libraries once, and keep what it compiled."""
    errors: list[bytes] = []
    with store.temporary_folder() as folder, progress.task("compiling the image's Python libraries, once"):
        spec = RunSpec(
            run_id=f"{NAME}-{hexadecimal(image.manifest)[:12]}",
            image=image,
            argv=("python3", "-m", "harness.strict.warm"),
            environment={"REPRO_MODE": "best_effort", "PYTHONDONTWRITEBYTECODE": ""},
            mounts=(code,),
            output=str(folder),
            resources=resources,
        )
        result = engine.run(spec, on_stdout=lambda _: None, on_stderr=errors.append)
        if result.exit_code != 0:
            tail = b"".join(errors).decode(errors="replace").strip()[-300:]
            raise ToolError(f"the image's python3 ended with exit code {result.exit_code}: {tail}")
        digest = put_tree(store, folder / NAME)
    known.parent.mkdir(exist_ok=True)
    write_atomically(known, digest.encode())
