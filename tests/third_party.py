"""Make images for three projects of others from their source archives, as a new user would, and run their code.

    python -m tests.third_party
    python -m tests.third_party lifelines --minutes 20

Prints the table of docs/init.md. Archives come from the index that pip or uv is set to and are known by their digests;
what else is needed is resolved anew, so that another day may lock other versions. Fails where a command does, or where
a program runs that should not find what it imports.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import msgspec
from docker.errors import ImageNotFound

from harness.engines.connection import connect
from harness.record.hashing import digest_of
from harness.spec.digest import digest_from_hex
from harness.store.http import read_address
from harness.store.index import addresses_of, resolve
from harness.store.logins import Logins
from harness.store.sources import uv_environment

CHECKOUT = Path(__file__).parents[1]
_LIMIT = 64 << 20


class ThirdParty(msgspec.Struct, frozen=True, kw_only=True):
    """A project as it is published. `init` are the words after `harness init`, `program` what is run in its image.

    `files` are those that a user writes first. `more` are written where `program` fails, with `lacks` among its words.
    `also` are further calls of `harness init` that need only lock.
    """

    name: str
    version: str
    sha256: str
    has: str
    program: str
    init: tuple[str, ...] = ()
    also: tuple[tuple[str, ...], ...] = ()
    files: dict[str, str] = {}
    lacks: str | None = None
    more: dict[str, str] = {}


PROJECTS = (
    ThirdParty(
        name="imbalanced-learn",
        version="0.14.2",
        sha256="f80ce7eafbcece8686e32571bd12978546c729c3f277215bead61a906ce9afe4",
        has="`pyproject.toml`",
        program="from imblearn.over_sampling import RandomOverSampler as Sampler\n"
        "print(len(Sampler(random_state=0).fit_resample([[1], [2], [3]], [0, 0, 1])[0]))",
    ),
    ThirdParty(
        name="lifelines",
        version="0.30.3",
        sha256="acd1e0ecada4280c7bb2948f39c760a0f9158a57d752c8ca29f984a86c698b7f",
        has="`setup.py`, `reqs/*.txt`",
        init=("-r", "reqs/base-requirements.txt"),
        also=(("dev", "-r", "reqs/dev-requirements.txt"),),
        program="from lifelines import KaplanMeierFitter\n"
        "print(KaplanMeierFitter().fit([1, 2, 3, 4], [1, 1, 1, 0]).median_survival_time_)",
    ),
    ThirdParty(
        name="face-alignment",
        version="1.5.0",
        sha256="d11583b54d4addeee1e16281a869a24bcac5a77b77377799234c87195c2f705c",
        has="`setup.py` alone",
        files={"requirements.txt": "torch\nnumpy\nscipy>=0.17\nscikit-image\nopencv-python\ntqdm\nnumba\n"},
        program="import cv2, torch, face_alignment\nprint(cv2.__version__, torch.__version__, face_alignment.__file__)",
        lacks="libxcb.so.1",
        more={
            "harness.yaml": "apt: [libgl1, libglib2.0-0]\n"
            "waive:\n"
            "  libglib2.0-0: compiles GSettings schemas and caches GIO modules, which OpenCV does not use\n"
            "  libsensors5: removes a configuration file of older versions, which no new image has\n",
        },
    ),
)


class Locked(msgspec.Struct):
    """What `harness init --json` says that is used here."""

    wheels: int
    debian_packages: int


class Trial:
    """One project in a folder, and the time that is left for it."""

    def __init__(self, project: ThirdParty, folder: Path, deadline: float) -> None:
        self.project, self.folder, self._deadline = project, folder, deadline
        self.began = time.monotonic()

    def harness(self, *words: str, fails: str | None = None) -> str:
        """A command's stdout. With `fails` it must end with code 1 and these words."""
        command = [sys.executable, "-P", "-m", "harness", *words]
        variables = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        sys.stderr.write(f"{self.project.name}: harness {' '.join(words).partition(chr(10))[0]}\n")
        done = subprocess.run(
            command, cwd=self.folder, env=variables, capture_output=True, text=True, check=False,
            timeout=max(1.0, self._deadline - time.monotonic()),
        )  # fmt: skip
        expected = 0 if fails is None else 1
        if done.returncode != expected or (fails or "") not in done.stderr:
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-3000:]}")
        return done.stdout

    def write(self, files: dict[str, str]) -> None:
        """The files that a user adds."""
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def image(self, *, fails: str | None = None) -> tuple[Locked, int]:
        """Lock, build, and run the program in the image: what was locked, and the image's bytes."""
        locked = msgspec.json.decode(self.harness("init", *self.project.init, "--force", "--json"), type=Locked)
        lock = json.loads(self.harness("build", "--update", "--json"))
        try:
            said = self.harness("exec", "--quiet", "--", "python", "-c", self.project.program, fails=fails)
            sys.stderr.write(f"{self.project.name}: {said.strip() or fails}\n")
        finally:
            for identity in (
                lock["config"],
                lock["manifest"],
            ):  # which of them the engine knows it by is its own affair
                with suppress(ImageNotFound):
                    connect().api.remove_image(identity, force=True)
        return locked, sum(layer["size"] for layer in lock["layers"])


def unpack(project: ThirdParty, folder: Path) -> Path:
    """The project's folder, from its source archive."""
    wanted = digest_from_hex(project.sha256)
    arguments, environment = ["--universal", "--no-deps", "--python-version", "3.11"], uv_environment()
    packages = resolve(arguments, f"{project.name}=={project.version}\n", environment)
    address = next(one.address for package in packages for one in addresses_of(package) if one.digest == wanted)
    data = read_address(address, limit=_LIMIT, credentials=Logins())
    if digest_of(data) != wanted:
        raise SystemExit(f"The archive of {project.name} {project.version} is another one than is known")
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


def try_out(project: ThirdParty, deadline: float) -> str:
    """A row of the table."""
    with tempfile.TemporaryDirectory(prefix="third-party-", dir="/var/tmp") as temporary:
        trial = Trial(project, unpack(project, Path(temporary)), deadline)
        trial.write(project.files)
        locked, size = trial.image(fails=project.lacks)
        if project.lacks is not None:
            trial.write(project.more)
            locked, size = trial.image()
        others = [
            msgspec.json.decode(trial.harness("init", *words, "--json"), type=Locked).wheels for words in project.also
        ]
        wheels = ", ".join(map(str, (locked.wheels, *others)))
        cells = f"{project.name} {project.version}", project.has, wheels, str(locked.debian_packages)
        seconds = time.monotonic() - trial.began
        return f"| {' | '.join(cells)} | {size / 1e6:.0f} MB | {seconds:.0f} s |"


def main() -> None:
    """Try the named projects, or all."""
    names = [project.name for project in PROJECTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--minutes", type=float, default=45, help="how long all of it may take")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    deadline = time.monotonic() + 60 * asked.minutes
    rows = [try_out(project, deadline) for project in PROJECTS if project.name in (asked.names or names)]
    head = ("project", "what it has", "wheels", "Debian packages", "image", "all commands")
    sys.stdout.write("\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *rows]) + "\n")


if __name__ == "__main__":
    main()
