"""Compiled Python for an image, made once by the image's own interpreter and mounted read-only afterwards.

Bytecode is not part of an image: what a compiler writes depends on the interpreter that happens to build, and the
image's digest must not. Without it every run would compile its libraries anew, ten seconds for the CPU image.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

import harness
from harness.engines.interface import Engine
from harness.errors import HarnessError, ToolError
from harness.record.files import write_atomically
from harness.record.hashing import digest_of_file, signature
from harness.runs.inputs import mount_tree
from harness.spec.digest import Digest, hexadecimal, parse_digest
from harness.spec.reproducibility import BASE_SEED
from harness.spec.run import ImageReference, Mode, Mount, Profile, Resources, RunSpec
from harness.spec.variables import run_variables
from harness.store.progress import Progress
from harness.store.store import Store
from harness.store.trees import put_tree

NAME = "bytecode"
_WARM = Path(harness.__file__).parent / "strict" / "warm.py"


def bytecode_mount(
    image: ImageReference,
    *,
    variant: str,
    code: Mount,
    engine: Engine,
    resources: Resources,
    store: Store,
    progress: Progress,
) -> Mount | None:
    """The image's bytecode as an input of a run; null where it could not be made, which costs time and nothing else."""
    key = bytecode_key(image.manifest, digest_of_file(_WARM))
    known = store.home / NAME / key
    with store.lock(f"{NAME}-{key}"):
        try:
            return mount_tree(store, NAME, parse_digest(known.read_text()))
        except (OSError, HarnessError):
            known.unlink(missing_ok=True)
        try:
            digest = _make(_spec(image, variant, code, resources), engine=engine, store=store, progress=progress)
        except HarnessError as error:
            progress.note(f"Runs will start slowly: libraries could not be compiled ahead: {error.message}")
            return None
        known.parent.mkdir(exist_ok=True)
        write_atomically(known, digest.encode())
    return mount_tree(store, NAME, digest)


def bytecode_key(manifest: Digest, program: Digest) -> str:
    """Under what an image's bytecode is kept: it depends on the image and on the program that compiles."""
    return hexadecimal(signature([manifest, program]))


def kept_bytecode(store: Store, manifests: Iterable[Digest]) -> Iterator[Digest]:
    """The trees of bytecode that are kept of those images, where there are any."""
    program = digest_of_file(_WARM)
    for manifest in manifests:
        with suppress(OSError, UnicodeDecodeError, HarnessError):
            yield parse_digest((store.home / NAME / bytecode_key(manifest, program)).read_text().strip())


def _spec(image: ImageReference, variant: str, code: Mount, resources: Resources) -> RunSpec:
    variables = run_variables(
        mode=Mode.BEST_EFFORT,
        profile=Profile.NATIVE,
        variant=variant,
        seed=BASE_SEED,
        version="v1",
        cores=len(resources.cpus),
    )
    return RunSpec(
        run_id=f"{NAME}-{hexadecimal(image.manifest)[:12]}",
        image=image,
        argv=("python3", "-m", "harness.strict.warm"),
        environment=variables,
        mounts=(code,),
        output="",
        resources=resources,
    )


def _make(spec: RunSpec, *, engine: Engine, store: Store, progress: Progress) -> Digest:
    """Let the image's interpreter import its own libraries once, and keep what it compiled."""
    errors: list[bytes] = []
    with store.temporary_folder() as folder, progress.task("Compiling the image's Python libraries, once"):
        result = engine.run(
            msgspec.structs.replace(spec, output=str(folder)), on_stdout=lambda _: None, on_stderr=errors.append
        )
        if result.exit_code != 0:
            tail = b"".join(errors).decode(errors="replace").strip()[-300:]
            raise ToolError(f"the image's python3 ended with exit code {result.exit_code}: {tail}")
        return put_tree(store, folder / NAME)
