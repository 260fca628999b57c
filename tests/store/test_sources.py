import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.store import sources
from harness.store.http import AddressError, open_address, origin, redact, redact_text
from harness.store.sources import debian_mirrors, link_folders, pip_configuration, uv_environment

ONE_LINE = """
# deb http://commented.test/debian bookworm main
deb http://one.test/debian/ bookworm main contrib
deb [arch=amd64 signed-by=/k.gpg] https://options.test/debian trixie main
deb-src http://source.test/debian bookworm main
deb cdrom:[Debian]/ bookworm main
not a line
"""
DEB822 = """
Types: deb deb-src
URIs: http://two.test/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
Enabled: no
URIs: http://disabled.test/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.test/debian
Suites: bookworm
Components: main
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "apt" / "sources.list.d").mkdir(parents=True)
    (tmp_path / "apt" / "sources.list").write_text(ONE_LINE)
    (tmp_path / "apt" / "sources.list.d" / "debian.sources").write_text(DEB822)
    (tmp_path / "apt" / "sources.list.d" / "old.list.disabled").write_text("deb http://old.test/debian bookworm main\n")
    return tmp_path / "apt"


def test_debian_mirrors_are_the_variables_then_apts_of_the_suite_then_its_others(apt):
    found = debian_mirrors("bookworm", {"HARNESS_DEBIAN_MIRROR": "http://own.test/debian /srv/mirror"}, apt=apt)
    assert found == (
        "http://own.test/debian",
        "file:///srv/mirror",
        "http://one.test/debian",
        "http://two.test/debian",
        "https://options.test/debian",
    )


def test_a_machine_without_apt_has_no_mirrors(tmp_path):
    assert debian_mirrors("bookworm", {}, apt=tmp_path / "nowhere") == ()


def test_pips_variables_are_stronger_than_its_files(tmp_path):
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = http://file.test\nextra-index-url =\n  http://a.test\n  http://b.test\n")
    environment = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(file), "PIP_INDEX_URL": "http://variable.test"}
    found = pip_configuration(environment)
    assert found.index == "http://variable.test"
    assert found.extra == ("http://a.test", "http://b.test")


def test_a_broken_pip_file_is_passed_over(tmp_path):
    file = tmp_path / "pip.conf"
    file.write_bytes(b"\xff no section")
    assert pip_configuration({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(file)}).index is None


def test_uv_is_told_what_pip_is_configured_with_unless_it_is_configured_itself(monkeypatch):
    pip = sources.PipConfiguration("http://i.test", ("http://e.test",), ("/links", "http://l.test"), "/ca.pem")
    monkeypatch.setattr(sources, "pip_configuration", lambda environment: pip)
    told = uv_environment({})
    assert told["UV_DEFAULT_INDEX"] == "http://i.test"
    assert told["UV_EXTRA_INDEX_URL"] == "http://e.test"
    assert told["UV_FIND_LINKS"] == "/links,http://l.test"
    assert told["SSL_CERT_FILE"] == "/ca.pem"
    own = {"UV_INDEX_URL": "x", "UV_INDEX": "y", "UV_FIND_LINKS": "z", "SSL_CERT_FILE": "c"}
    assert uv_environment(own) == own
    assert "UV_EXTRA_INDEX_URL" not in uv_environment({}, extra=False)


def test_link_folders_are_those_that_exist_once(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two words"
    one.mkdir()
    two.mkdir()
    environment = {
        "HOME": "/nonexistent",
        "PIP_CONFIG_FILE": "/dev/null",
        "UV_FIND_LINKS": f"{two},http://links.test/,{tmp_path}/nowhere",
        "PIP_FIND_LINKS": f"{one.as_uri()} {one}",
    }
    assert link_folders(environment) == (two, one)


def test_no_password_or_token_is_shown():
    assert redact("https://user:secret@host.test:8443/a/b?token=secret#x") == "https://host.test:8443/a/b"
    assert "secret" not in redact("https://user:secret@[broken/a")


@pytest.mark.parametrize(
    "password",
    ["hush/secret", "hush#secret", "hush?secret", "hush@secret", "hush secret/x", "hush[secret", "hush/\u2100"],
)
def test_a_password_that_was_not_encoded_is_not_shown(password: str):
    assert redact(f"https://user:{password}@h.test:8443/a/b?token=secret") == "https://h.test:8443/a/b"


@pytest.mark.parametrize(
    "password", ["12/secret", "80/a#secret", "80/a?secret", "12/x//secret", "hush@a/secret", "a/b@c/secret"]
)
def test_an_address_whose_password_may_end_in_several_places_is_not_shown(password: str):
    assert redact(f"https://user:{password}@h.test:8443/a/b") == "(an address with an @ behind its host)"


@pytest.mark.parametrize("password", ["hush/secret", "hush#secret", "hush?secret", "hush[secret", "hush\u2100secret"])
@pytest.mark.parametrize("ask", [open_address, origin])
def test_an_address_that_cannot_be_read_is_refused_without_quoting_it(password: str, ask: Callable[[str], object]):
    with pytest.raises(AddressError, match=r"in a password / .* are written %2F") as refused:
        ask(f"http://user:{password}@127.0.0.1:9/a")
    told = "".join(traceback.format_exception(refused.value))
    assert not [word for word in ("hush", "secret") if word in told]


def test_an_address_with_a_space_is_refused_without_quoting_it():
    address = "http://user:secret@127.0.0.1:9/a b?token=secret"
    with pytest.raises(AddressError, match="not an address") as refused:
        open_address(address)
    assert "secret" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "address", ["https://h.test:8443/a/b", "https://h.test/feed@v/x.whl", "file:///a:b/c@d", "http://[::1]:80/x"]
)
def test_an_address_without_a_password_is_shown_as_it_is(address: str):
    assert redact(address) == address


@pytest.mark.parametrize(
    "text",
    [
        "x @ https://user:secret@h.test/x.whl",
        "x @ git+https://secret@h.test/x.git@v1",
        "-r a https:/user:secret@h.test/x",
        "https://user:se@secret@h.test/x and https://u:secret@h.test/y?token=secret#secret",
        "https://user:secret with a space@h.test/x",
        "https://user:secret/with/slashes@h.test/x",
        "//user:secret@h.test/x",
    ],
)
def test_no_password_in_a_text_is_shown(text: str):
    assert "secret" not in redact_text(text)
    assert "h.test/x" in redact_text(text)


@pytest.mark.parametrize(
    "text",
    ["x==1", "git+https://h.test/x.git@v1", "https://h.test:8443/x@1", "./a/b@c.whl", "x[a] ; python_version < '3'"],
)
def test_a_text_without_a_password_is_shown_as_it_is(text: str):
    assert redact_text(text) == text


@pytest.mark.parametrize("address", ["ftp://host.test/a", "javascript:x", "/etc/passwd", "http://[broken/"])
def test_only_known_schemes_are_opened(address):
    with pytest.raises(AddressError):
        open_address(address)
