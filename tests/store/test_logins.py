import json
from pathlib import Path

import pytest

from harness.store.logins import Logins
from harness.store.sources import uv_configuration, uv_environment

NOBODY = {"HOME": "/nonexistent", "PIP_CONFIG_FILE": "/dev/null", "XDG_CONFIG_DIRS": "/nonexistent"}


def logins(**environment: str) -> Logins:
    return Logins({**NOBODY, **environment})


def test_an_index_whose_address_holds_a_login_is_known_by_origin() -> None:
    found = logins(
        UV_DEFAULT_INDEX="https://u:p@one.test/simple",
        UV_INDEX="name=https://v:q@two.test/simple",
        PIP_EXTRA_INDEX_URL="https://w:r@three.test:8443/simple",
        UV_FIND_LINKS="/folder,https://x:s@four.test/links/",
        PIP_FIND_LINKS="https://y:t@five.test/links/",
    )
    assert found.get("https://one.test") == "u:p"
    assert found.get("https://two.test") == "v:q"
    assert found.get("https://three.test:8443") == "w:r"
    assert found.get("https://four.test") == "x:s"
    assert found.get("https://five.test") == "y:t"
    for other in ("http://one.test", "https://three.test", "https://one.test.evil.test"):
        assert found.get(other) == ""


def test_a_login_is_unquoted() -> None:
    found = logins(UV_DEFAULT_INDEX="https://me%40work:p%3Aa%2Fs@one.test/simple")
    assert found.get("https://one.test") == "me@work:p:a/s"


def test_a_named_index_gets_its_login_from_its_variables() -> None:
    found = logins(
        UV_INDEX="our-own=https://one.test/simple", UV_INDEX_OUR_OWN_USERNAME="u", UV_INDEX_OUR_OWN_PASSWORD="p@:%"
    )
    assert found.get("https://one.test") == "u:p@:%"


def test_uv_and_pip_configuration_files_are_read(tmp_path: Path) -> None:
    (tmp_path / ".config" / "uv").mkdir(parents=True)
    (tmp_path / ".config" / "uv" / "uv.toml").write_text(
        'find-links = ["https://l:m@links.test/"]\n[[index]]\nname = "ours"\nurl = "https://u:p@one.test/simple"\n'
        '[pip]\nextra-index-url = ["https://v:q@two.test/simple"]\n'
    )
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://w:r@three.test/simple\n")
    variables = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    found = logins(**variables)
    for server, login in (("one", "u:p"), ("two", "v:q"), ("three", "w:r"), ("links", "l:m")):
        assert found.get(f"https://{server}.test") == login
    assert logins(**variables, UV_NO_CONFIG="1").get("https://one.test") == ""


def test_an_index_of_uvs_own_file_is_not_replaced_by_pips(tmp_path: Path) -> None:
    path = tmp_path / "uv.toml"
    pip = {**NOBODY, "PIP_INDEX_URL": "https://pip.test/simple"}
    assert uv_environment(pip)["UV_DEFAULT_INDEX"] == "https://pip.test/simple"
    path.write_text('index-url = "https://uv.test/simple"\n')
    assert uv_configuration({"UV_CONFIG_FILE": str(path)}).indexes == ("https://uv.test/simple",)
    assert "UV_DEFAULT_INDEX" not in uv_environment({**pip, "UV_CONFIG_FILE": str(path)})


@pytest.mark.parametrize("password", ["pa/ss", "pa[ss", "pa\u2100ss"])
def test_an_index_whose_address_cannot_be_read_has_no_login_and_hides_no_other(password: str) -> None:
    found = logins(UV_DEFAULT_INDEX=f"https://u:{password}@one.test/simple", UV_INDEX="https://v:q@two.test/simple")
    assert found.get("https://one.test") == ""
    assert found.get("https://two.test") == "v:q"


def test_a_netrc_file_is_asked_for_hosts_that_nothing_else_knows(tmp_path: Path) -> None:
    path = tmp_path / ".netrc"
    path.write_text("machine one.test login u password p\nmachine two.test login n password m\n")
    path.chmod(0o600)
    for variables in ({"HOME": str(tmp_path)}, {"NETRC": str(path)}):
        found = logins(**variables, UV_DEFAULT_INDEX="https://v:q@two.test/simple")
        assert found.get("https://one.test:8443") == "u:p"
        assert found.get("https://two.test") == "v:q"
        assert found.get("https://other.test") == ""


@pytest.mark.parametrize("text", ["machine one.test login", "nonsense secret", "\0"])
def test_a_netrc_file_that_cannot_be_read_knows_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "netrc").write_text(text)
    assert logins(NETRC=str(tmp_path / "netrc")).get("https://one.test") == ""


@pytest.fixture
def keyring(tmp_path: Path) -> Path:
    """A command `keyring` that knows one service, and notes what it was asked."""
    command = tmp_path / "keyring"
    command.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
        '[ "$2 $3" = "one.test me" ] && echo "p@ss" && exit\necho secret >&2; exit 1\n'
    )
    command.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("tool", ["UV", "PIP"])
def test_the_keyring_is_asked_only_where_it_is_chosen(keyring: Path, tool: str) -> None:
    variables = {"PATH": f"{keyring}:/usr/bin:/bin", "UV_DEFAULT_INDEX": "https://me@one.test/simple"}
    assert logins(**variables).get("https://one.test") == ""
    assert not (keyring / "asked").exists()
    found = logins(**variables, **{f"{tool}_KEYRING_PROVIDER": "subprocess"})
    assert found.get("https://one.test") == "me:p@ss"
    assert (keyring / "asked").read_text().splitlines() == ["get https://one.test/simple me", "get one.test me"]
    other = variables | {"UV_DEFAULT_INDEX": "https://me@two.test/simple", "UV_KEYRING_PROVIDER": "subprocess"}
    assert logins(**other).get("https://two.test") == ""


def test_nothing_secret_is_shown_of_logins() -> None:
    found = logins(UV_DEFAULT_INDEX="https://u:hidden@one.test/simple")
    assert "hidden" not in repr(found) + str(found) + json.dumps({"logins": str(found)})
