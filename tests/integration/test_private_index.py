"""An index and a mirror that want a password: every way to give it works, and it is never printed or written."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from private_index import CHECKOUT, PASSWORD, QUOTED, USER, Checkout, Done, Index, call, files, leaks

from harness.store.store import Store

ARCHIVE = CHECKOUT / "tests" / "locking" / "data" / "archive"

START = """
import sys
from pathlib import Path
from harness.cli import main
from harness.locking import lock, template
lock.KEYRINGS, template._text = (Path(sys.argv.pop(1)),), Path(sys.argv.pop(1)).read_text
main.main()
"""
TEMPLATE = """\
# A template.
name: small
variant: cpu

debian:
  suite: testing
  component: main
  architecture: amd64
  packages:
    - app # needed

python:
  version: "3.11"
  platform: x86_64-manylinux_2_36
  requirements:
    - small
  exclude:
    - small/tests/*

users:
  - {name: root, uid: 0, home: /root}

files:
  /etc/nsswitch.conf: |
    hosts: files

postinst:
  app: does nothing
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout", Store(tmp_path / "first store")).write()


@pytest.fixture
def index(checkout: Checkout) -> Iterator[Index]:
    index = Index(checkout)
    yield index
    index.close()


def configured(way: str, index: Index, home: Path) -> dict[str, str]:
    """The variables, and the files in `home`, that tell where the index is and who asks it."""
    plain, known = f"http://{index.host}", f"http://{USER}:{QUOTED}@{index.host}"
    mirror = {"HARNESS_DEBIAN_MIRROR": f"{known}/debian"}
    nothing = home.as_uri()
    match way:
        case "uv":
            return {**mirror, "UV_DEFAULT_INDEX": f"{known}/simple"}
        case "uv, by its older name":
            return {**mirror, "UV_INDEX_URL": f"{known}/simple"}
        case "uv, a further index":
            return {**mirror, "UV_DEFAULT_INDEX": nothing, "UV_EXTRA_INDEX_URL": f"{known}/simple"}
        case "uv, a named index":
            return {
                **mirror,
                "UV_DEFAULT_INDEX": nothing,
                "UV_INDEX": f"ours={plain}/simple",
                "UV_INDEX_OURS_USERNAME": USER,
                "UV_INDEX_OURS_PASSWORD": PASSWORD,
            }
        case "uv.toml":
            (home / ".config" / "uv").mkdir(parents=True)
            (home / ".config" / "uv" / "uv.toml").write_text(f'index-url = "{known}/simple"\n')
            return mirror
        case "uv.toml of the system":
            (home / "xdg" / "uv").mkdir(parents=True)
            (home / "xdg" / "uv" / "uv.toml").write_text(f'index-url = "{known}/simple"\n')
            return {**mirror, "XDG_CONFIG_DIRS": str(home / "xdg")}
        case "uv.toml, named":
            (home / "own.toml").write_text(f'[[index]]\nurl = "{known}/simple"\ndefault = true\n')
            return {**mirror, "UV_CONFIG_FILE": str(home / "own.toml")}
        case "uv, a page of links":
            return {**mirror, "UV_DEFAULT_INDEX": nothing, "UV_FIND_LINKS": f"{known}/links/"}
        case "pip":
            return {**mirror, "PIP_INDEX_URL": f"{known}/simple"}
        case "pip, a further index":
            return {**mirror, "PIP_INDEX_URL": nothing, "PIP_EXTRA_INDEX_URL": f"{known}/simple"}
        case "pip, a page of links":
            return {**mirror, "PIP_INDEX_URL": nothing, "PIP_FIND_LINKS": f"{known}/links/"}
        case "pip.conf":
            (home / "pip.conf").write_text(f"[global]\nindex-url = {known}/simple\n")
            return {**mirror, "PIP_CONFIG_FILE": str(home / "pip.conf")}
        case "netrc" | "netrc, named":
            file = home / (".netrc" if way == "netrc" else "logins")
            file.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
            file.chmod(0o600)
            named = {} if way == "netrc" else {"NETRC": str(file)}
            return {**named, "HARNESS_DEBIAN_MIRROR": f"{plain}/debian", "UV_DEFAULT_INDEX": f"{plain}/simple"}
        case "keyring of uv" | "keyring of pip":
            (home / "keyring").write_text(f"#!/bin/sh\nprintf '%s\\n' '{PASSWORD}'\n")
            (home / "keyring").chmod(0o755)
            address = f"http://{USER}@{index.host}/simple"
            if way == "keyring of pip":
                return {**mirror, "PIP_INDEX_URL": address, "PIP_KEYRING_PROVIDER": "subprocess"}
            return {**mirror, "UV_DEFAULT_INDEX": address, "UV_KEYRING_PROVIDER": "subprocess"}
    raise AssertionError(way)


WAYS = (
    "uv", "uv, by its older name", "uv, a further index", "uv, a named index", "uv, a page of links", "uv.toml",
    "uv.toml of the system", "uv.toml, named", "pip", "pip, a further index", "pip, a page of links", "pip.conf",
    "netrc", "netrc, named", "keyring of uv", "keyring of pip",
)  # fmt: skip


def build(checkout: Checkout, home: Path, variables: dict[str, str]) -> Done:
    return call(checkout.root, home, variables, "build", "tiny", "--update")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize("way", WAYS)
def test_a_login_is_used_and_is_found_nowhere_afterwards(
    checkout: Checkout, index: Index, home: Path, way: str
) -> None:
    variables = configured(way, index, home)
    given, printed = files(home), ""
    for words in (("build", "tiny", "--update"), ("vendor", "tiny", "--out", home / "tiny.bundle")):
        done = call(checkout.root, home, variables, *words)
        assert done.returncode == 0, done.stderr
        printed += done.stdout + done.stderr
    assert (home / "tiny.bundle").is_file()
    assert leaks(printed, checkout.root, home, given=given) == []


@pytest.mark.parametrize("way", ["uv", "uv, a named index", "uv, a page of links", "pip", "netrc", "keyring of uv"])
def test_a_login_that_locking_uses_is_found_nowhere_afterwards(
    index: Index, home: Path, tmp_path: Path, way: str
) -> None:
    """The commands of a new project; the key that signs the archive, and what new specs are made from, are ours."""
    for path in files(ARCHIVE):
        index.files[f"/debian/{path.relative_to(ARCHIVE).as_posix()}"] = path.read_bytes()
    project = tmp_path / "project"
    project.mkdir()
    (project / "requirements.txt").write_text("small\n")
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    variables = configured(way, index, home)
    variables["HARNESS_DEBIAN_MIRROR"] = f"http://{USER}:{QUOTED}@{index.host}/debian"
    given, printed = files(home), ""
    for words in (
        ("init",),
        ("lock", "cpu", "--upgrade", "small"),
        ("build", "--update"),
        ("vendor", "--out", project / "bundle"),
    ):
        start = ("-c", START, str(ARCHIVE.with_name("keyring.gpg")), str(tmp_path / "template.yaml"))
        done = call(project, home, variables, *words, start=start)
        assert done.returncode == 0, done.stderr
        printed += done.stdout + done.stderr
    assert {"docker/cpu.yaml", "lockfiles/cpu/image.lock", "bundle"} < {
        path.relative_to(project).as_posix() for path in files(project)
    }
    assert leaks(printed, project, home, given=given) == []


def test_a_run_knows_no_login_and_records_none(index: Index, home: Path, tmp_path: Path) -> None:
    """In the host engine's environment, which is made beforehand; with all the ways at once."""
    subprocess.run([sys.executable, "-m", "harness", "host-environment"], cwd=CHECKOUT, check=True, capture_output=True)
    variables = {name: value for way in WAYS for name, value in configured(way, index, home).items()}
    variables["HTTPS_PROXY"] = f"http://{USER}:{QUOTED}@{index.host}"
    given = files(home)
    project, store = tmp_path / "project", str(Store.default().home)
    project.mkdir()
    (project / "show.py").write_text(
        "import os\nprint(dict(os.environ))\nopen('seen.txt', 'w').write(str(os.environ))\n"
    )
    words = ("exec", "--audit", "--engine", "host", "--", "python", "show.py")
    done = call(project, home, {**variables, "HARNESS_HOME": store}, *words)
    assert done.returncode == 0, done.stderr
    assert list(project.glob("RESULTS/runs/*/exec/outputs/seen.txt"))
    assert leaks(done.stdout + done.stderr, project, home, given=given) == []


@pytest.mark.parametrize("way", ["uv", "pip.conf", "netrc", "keyring of uv"])
def test_a_login_that_is_refused_is_told_without_it(checkout: Checkout, index: Index, home: Path, way: str) -> None:
    variables = configured(way, index, home)
    given = files(home)
    index.wanted = "Basic of somebody else"
    done = build(checkout, home, variables)
    assert done.returncode == 2, done.stderr
    assert "401" in done.stderr
    assert leaks(done.stdout + done.stderr, checkout.root, home, given=given) == []
    assert not (checkout.folder / "image.lock").exists()


@pytest.mark.parametrize(
    ("words", "password"),
    [
        *((("lock", "tiny"), f"hushed{mark}SECRET") for mark in "/#?@"),
        (("build", "tiny", "--update"), "hushed/SECRET"),
    ],
)
def test_a_password_that_was_not_encoded_is_shown_by_no_error(
    checkout: Checkout, index: Index, home: Path, words: tuple[str, ...], password: str
) -> None:
    checkout.spec = checkout.spec.replace("bookworm", "nosuch")
    checkout.write()
    address = f"http://{USER}:{password}@{index.host}"
    variables = {"HARNESS_DEBIAN_MIRROR": f"{address}/debian", "UV_DEFAULT_INDEX": f"{address}/simple"}
    done = call(checkout.root, home, variables, *words)
    assert done.returncode == 2, done.stderr
    assert f"http://{index.host}/debian" in done.stderr
    assert "401" in done.stderr if "@" in password else "are written %2F" in done.stderr
    assert leaks(done.stdout + done.stderr, checkout.root, home, secrets=(b"hushed", b"SECRET")) == []


def test_without_a_login_the_server_s_refusal_is_told(checkout: Checkout, index: Index, home: Path) -> None:
    plain = f"http://{index.host}"
    done = build(checkout, home, {"HARNESS_DEBIAN_MIRROR": f"{plain}/debian", "UV_DEFAULT_INDEX": f"{plain}/simple"})
    assert done.returncode == 2
    assert "HTTP 401, it wants a user and a password" in done.stderr
    assert index.refused > 0


def test_the_search_for_the_password_finds_it_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(f"x{QUOTED}x")
    assert leaks(PASSWORD, tmp_path) == ["printed", str(tmp_path / "file")]
    assert leaks("", tmp_path, given=files(tmp_path)) == []
