"""The harness's sessions, each in an environment of its own.

Start one by name; what stands after two dashes goes to its command:

    .venv/bin/nox -s lint types imports
    .venv/bin/nox -s "deterministic_run(cpu)" -- --quick
    .venv/bin/nox -s matrix drift

`make .venv/.ready-dev` makes `.venv`, with nox and uv in it. A session installs what the hash-checked locks name and
sees few of your variables; one that cannot run on this machine is skipped and says why.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nox
from nox.command import CommandFailed

ROOT = Path(__file__).parent
ENVIRONMENTS = ("host", "cpu", "cpu-prev", "cuda")
HOST_PYTHON = "python3.11"
DEVICES = ("/dev/nvidiactl", "/dev/dxg")
LOCKS = ("-r", "lockfiles/host.txt")
DEVELOPMENT = (*LOCKS, "-r", "lockfiles/dev.txt")
CANNOT_RUN = 77  # what tests/another_engine.py answers where this machine cannot run an engine
REQUIRED = {"HARNESS_TEST_REQUIRE": "1"}  # a test whose program is missing fails, see tests/tools.py

# What a session sees of the caller's variables: who and where he is, where artifacts are, what a terminal can do.
KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|TZ|LANG|LC_\w+|TERM|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|XDG_\w+|CI"
    r"|HARNESS_\w+|DOCKER_HOST|SSL_CERT_(FILE|DIR)|(HTTPS?|ALL|NO)_PROXY|(https?|all|no)_proxy"
    r"|PIP_(CERT|CONFIG_FILE|FIND_LINKS|INDEX_URL|EXTRA_INDEX_URL|DEFAULT_TIMEOUT)"
    r"|NETRC|PIP_KEYRING_PROVIDER|UV_(CACHE_DIR|CONFIG_FILE|NO_CONFIG|KEYRING_PROVIDER|FIND_LINKS|HTTP_TIMEOUT|INDEX\w*|DEFAULT_INDEX|EXTRA_INDEX_URL|NATIVE_TLS|OFFLINE)"
)

nox.needs_version = ">=2026.1"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "imports"]


@nox.session(tags=["quick"])
def lint(session: nox.Session) -> None:
    """Lint, and check the format."""
    _install(session, *DEVELOPMENT)
    _run(session, "ruff", "check", ".")
    _run(session, "ruff", "format", "--check", ".")


@nox.session(tags=["quick"])
def types(session: nox.Session) -> None:
    """Check types strictly, the inside rooms with the libraries of the image's lock."""
    _install(session, *DEVELOPMENT)
    _run(session, "mypy")
    python = _run(session, "python", "-m", "harness", "host-environment", silent=True).splitlines()[-1]
    rooms = ("-p", "harness.strict", "-p", "harness.training", "--follow-imports=silent")
    _run(session, "mypy", *rooms, "--python-executable", python)


@nox.session(tags=["quick"])
def imports(session: nox.Session) -> None:
    """Check that rooms import downwards only."""
    _install(session, *DEVELOPMENT)
    _run(session, "lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole test suite, the real-engine tests included: `make test`, but not in .venv."""
    if reason := _no_engine():
        session.skip(f"the whole suite needs a container engine, and `outside` does not: {reason}")
    _install(session, *DEVELOPMENT)
    _run(session, "python", "bin/link-checkout.py")
    own = Path(session.virtualenv.location).resolve()
    for stamp in (".ready", ".ready-dev"):  # or make would make the checkout's own
        (own / stamp).touch()
    _run(session, "make", "test", f"VENV={own}", f"INSIDE={own / 'inside'}", *session.posargs, external=True)


@nox.session(python=["3.11", "3.12", "3.13"])
def outside(session: nox.Session) -> None:
    """Test the orchestrator's rooms on one Python, without an engine."""
    _install(session, *DEVELOPMENT)
    apart = ("--ignore=tests/strict", "--ignore=tests/training", "--ignore=tests/integration")
    _run(session, "python", "-m", "pytest", "-n", "2", *apart, "-m", "not docker", *session.posargs)


@nox.session
@nox.parametrize("environment", [nox.param(name, id=name) for name in ENVIRONMENTS])
def deterministic_run(session: nox.Session, environment: str) -> None:
    """Train the default experiment twice in one environment: every cell must repeat to the bit."""
    if reason := _cannot_run(environment):
        session.skip(reason)
    _install(session, *LOCKS)
    where = ("--engine", "host") if environment == "host" else ("--image", environment)
    _harness(session, "run", *where, "--runs", "2")


@nox.session
def matrix(session: nox.Session) -> None:
    """Train the same experiment in every environment that runs here, and compare inside and across."""
    if reason := _no_engine():
        session.warn(f"only what needs no container engine: {reason}")
    _install(session, *LOCKS)
    _harness(session, "matrix")


@nox.session
def drift(session: nox.Session) -> None:
    """Say what changed in the environments since the last baseline, and whether numbers moved."""
    if not any((ROOT / "lockfiles" / "baselines").glob("*.json")) and not session.posargs:
        session.skip("there is no baseline under lockfiles/baselines yet: harness baseline create --release v1.0")
    if reason := _no_engine():
        session.warn(f"images cannot be surveyed: {reason}")
    _install(session, *LOCKS)
    _harness(session, "drift")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the README's figures, as ratios."""
    if reason := _no_engine():
        session.skip(reason)
    _install(session, *LOCKS)
    _run(session, "python", "-m", "benchmarks", *session.posargs)


@nox.session
def scripts(session: nox.Session) -> None:
    """Run third-party scripts twice in bare Python and twice strictly: what differs must be explained."""
    if reason := _no_engine():
        session.skip(reason)
    _install(session, *LOCKS)
    _run(session, "python", "-m", "benchmarks", "scripts", "--require", *session.posargs)


@nox.session
def cross_cpu(session: nox.Session) -> None:
    """Compare operators and fits here and on emulated CPUs, to the bit, and with the table (--minutes 60)."""
    if shutil.which("qemu-x86_64") is None:
        session.skip("there is no qemu-x86_64 to emulate CPUs with: install Debian's package qemu-user")
    _install(session, *LOCKS)
    python = _run(session, "python", "-m", "harness", "host-environment", silent=True).splitlines()[-1]
    inside = Path(session.virtualenv.location).resolve() / "inside"  # the database of operators asks for expecttest
    packages = ("--target", str(inside), "--require-hashes", "-r", "lockfiles/inside-test.txt")
    _run(session, "uv", "pip", "install", "--quiet", "--python", python, *packages)
    variables = {**_variables(os.environ), "PYTHONPATH": f"{ROOT}{os.pathsep}{inside}", "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = ("-m", "tests.cross_cpu", "check", *session.posargs)
    session.run(python, *arguments, env=variables, include_outer_env=False, external=True)


@nox.session
def fuzz_archives(session: nox.Session) -> None:
    """Try hostile wheels and packages on the two readers, for ten minutes (--minutes 60, --seed 7)."""
    _install(session, *DEVELOPMENT)
    _run(session, "python", "bin/link-checkout.py")
    _run(session, "python", "tests/images/fuzz_archives.py", "--minutes", "10", *session.posargs)


@nox.session
def third_party(session: nox.Session) -> None:
    """Make images for three projects of others, as a new user would, and run their code (--minutes 45)."""
    if reason := _no_engine():
        session.skip(reason)
    _install(session, *LOCKS)
    _run(session, "python", "-m", "tests.third_party", *session.posargs)


@nox.session
def offline_cpu(session: nox.Session) -> None:
    """Build the CPU image from its bundle, with no network, checkout or store: the committed digest."""
    if shutil.which("unshare") is None:
        session.skip("there is no unshare to make a namespace without a network: install util-linux")
    _install(session, *LOCKS)
    _run(session, "python", "-m", "tests.offline_build", "cpu")


@nox.session
def trixie(session: nox.Session) -> None:
    """Make the image of Debian 13 with Python 3.13 anew, and train twice inside it."""
    if reason := _no_engine():
        session.skip(reason)
    _install(session, *DEVELOPMENT)
    _run(session, "python", "-m", "harness", "build", "trixie", "--anew")
    _run(session, "python", "-m", "pytest", "-n", "0", _bill("trixie"))
    # It has no torch.
    _harness(session, "run", "--image", "trixie", "--families", "lightgbm,xgboost", "--runs", "2")


@nox.session
def arm64(session: nox.Session) -> None:
    """Make the image for linux/arm64 anew, and look at each program and library in it."""
    _install(session, *DEVELOPMENT)
    _run(session, "python", "-m", "harness", "build", "cpu-arm64", "--anew")
    files = ("tests/integration/test_arm64_image.py", _bill("cpu-arm64"))
    _run(session, "python", "-m", "pytest", "-n", "0", *files, *session.posargs)


@nox.session
def cuda_image(session: nox.Session) -> None:
    """Build the CUDA image, 5 GB, and test it on the CPU: digest, imports, what a GPU's runtime needs."""
    if reason := _no_engine():
        session.skip(reason)
    _install(session, *DEVELOPMENT)
    _run(session, "python", "-m", "harness", "build", "cuda")
    files = ("tests/integration/test_cuda_image.py", _bill("cuda"))
    wanted = {"HARNESS_TEST_CUDA_IMAGE": "1"}
    _run(session, "python", "-m", "pytest", "-n", "0", *files, *session.posargs, variables=wanted)


@nox.session
def registry(session: nox.Session) -> None:
    """Push the CPU image to Debian's registry, compressed each way, and pull it into an empty store."""
    programs = ("docker-registry", "htpasswd", "openssl", "skopeo")
    if missing := [name for name in programs if shutil.which(name) is None]:
        session.skip(f"there is no {missing[0]}: install Debian's docker-registry, apache2-utils, openssl and skopeo")
    _install(session, *DEVELOPMENT)
    files = [f"tests/images/test_{name}.py" for name in ("transport", "distribution", "push_command", "credentials")]
    _run(session, "python", "-m", "pytest", "-n", "0", *files, *session.posargs, variables=REQUIRED)
    _run(session, "python", "-m", "tests.round_trip", "cpu")


@nox.session
def containerd_store(session: nox.Session) -> None:
    """Run the engine's tests in trixie's Docker with the containerd image store, Docker 29's default."""
    _in_another_engine(session, "containerd", "dpkg-deb", "runc")


@nox.session
def podman(session: nox.Session) -> None:
    """Run the engine's tests in podman, through its Docker-compatible socket."""
    _in_another_engine(session, "podman", "podman", "catatonit", "runc")


@nox.session
def verify_cpu(session: nox.Session) -> None:
    """Build the CPU image twice under conditions that should not count, and compare with its lock."""
    _install(session, *LOCKS)
    _harness(session, "image", "verify", "cpu", "--every-condition")


@nox.session
def release(session: nox.Session) -> None:
    """Check all that a release must pass, and write the page that its manager signs."""
    if not any(argument.partition("=")[0] == "--release" for argument in session.posargs):
        session.skip("say which release: nox -s release -- --release v1.0 (with --first where it is the first one)")
    if reason := _no_engine():
        session.error(f"a release is checked with a container engine: {reason}")
    _install(session, *LOCKS)
    _harness(session, "release-check")


def _in_another_engine(session: nox.Session, engine: str, *needed: str) -> None:
    if os.geteuid() != 0:
        session.skip("only root can start an engine of its own")
    places = f"{os.environ.get('PATH', '')}:/usr/libexec/podman"
    if missing := [name for name in needed if shutil.which(name, path=places) is None]:
        session.skip(f"there is no {missing[0]} on this machine")
    _install(session, *DEVELOPMENT)
    _run(session, "python", "bin/link-checkout.py")  # a test starts the command of the environment that it runs in
    names = ("docker_engine", "docker_delivery", "self_contained", "exec", "survey")
    tests = ("python", "-m", "pytest", "-n", "0", *(f"tests/integration/test_{name}.py" for name in names))
    try:
        _run(session, "python", "-m", "tests.another_engine", engine, *tests, *session.posargs)
    except CommandFailed as failed:
        if failed.return_code != CANNOT_RUN:
            raise
        session.skip(f"{engine} cannot run on this machine: the reason stands above")


def _bill(image: str) -> str:
    """The test of an image's bill of materials, which is skipped where its artifacts are not in the store."""
    return f"tests/integration/test_image_sbom.py::test_the_bill_of_a_committed_image_is_valid_and_repeats[{image}]"


def _harness(session: nox.Session, command: str, *arguments: str) -> None:
    """Run a command of this checkout; what stands after the two dashes goes to it."""
    _run(session, "python", "-m", "harness", command, *arguments, *session.posargs)


def _run(
    session: nox.Session,
    *command: str,
    variables: Mapping[str, str] | None = None,
    silent: bool = False,
    external: bool = False,
) -> str:
    """Run a command with the variables that a session sees, and `variables`."""
    env = {**_variables(os.environ), **(variables or {})}
    return str(session.run(*command, env=env, include_outer_env=False, silent=silent, external=external))


def _install(session: nox.Session, *locks: str) -> None:
    """Fill the session's environment with what the locks name, each wheel by its hash."""
    try:
        sys.path.insert(0, str(ROOT))
        from harness.store.sources import uv_environment
    except ImportError as error:
        session.error(f"{error}: start the nox of the checkout, .venv/bin/nox")
    variables = uv_environment(_variables(os.environ))  # uv reads no setting of pip's
    session.install("--require-hashes", *locks, env=variables, include_outer_env=False)


def _variables(caller: Mapping[str, str]) -> dict[str, str]:
    """The caller's variables that a session sees."""
    return {name: value for name, value in caller.items() if KEPT.fullmatch(name)}


def _cannot_run(environment: str) -> str | None:
    """Why this machine cannot run the environment now, in one sentence."""
    if environment == "host":
        found = f"python{sys.version_info.major}.{sys.version_info.minor}" == HOST_PYTHON or shutil.which(HOST_PYTHON)
        return None if found else f"{HOST_PYTHON} is not on PATH"
    spec = ROOT / "docker" / f"{environment}.yaml"
    lock = ROOT / "lockfiles" / environment / "image.lock"
    if not spec.is_file():
        return f"there is no image spec {spec.relative_to(ROOT)} yet"
    if not lock.is_file():
        return f"there is no {lock.relative_to(ROOT)} yet: harness build {environment} --update"
    if re.search(r"^variant: *cuda\b", spec.read_text(), re.MULTILINE) and not any(map(os.path.exists, DEVICES)):
        return "there is no NVIDIA GPU on this machine"
    return _no_engine()


def _no_engine() -> str | None:
    """Make a container engine answer; where none can be had, why."""
    script = ROOT / "docker" / "ensure-engine.sh"
    done = subprocess.run([script], env=_variables(os.environ), stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(done.stderr)
    said = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
    return None if done.returncode == 0 else said[-1] if said else f"{script.name} ended with {done.returncode}"
