import base64
import json
import stat
from pathlib import Path

import pytest

from harness.errors import HarnessError, PrerequisiteError, ToolError, UsageError
from harness.images.credentials import Credentials, find_credentials

HOST = "registry.example.com"


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Variables of a user who has logged in nowhere."""
    (tmp_path / "bin").mkdir()
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


def found(home: dict[str, str], host: str = HOST, name: str = "team/cpu") -> tuple[str, str] | None:
    known = find_credentials(host, name, home)
    return None if known is None else (known.user, known.password)


def test_nobody_is_nobody(home: dict[str, str]) -> None:
    assert found(home) is None


def test_what_docker_login_left_is_found(home: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / ".docker/config.json", {"auths": {HOST: auth("me", "pass:word"), "other.com": auth("x", "y")}})
    assert found(home) == ("me", "pass:word")
    assert found(home, "third.com") is None
    elsewhere = write(tmp_path / "elsewhere/config.json", {"auths": {HOST: auth("you", "w")}})
    assert found({**home, "DOCKER_CONFIG": str(elsewhere.parent)}) == ("you", "w")


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/v1/", f"https://{HOST}/v2/"])
def test_old_ways_to_write_a_registry_are_understood(key: str, home: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / ".docker/config.json", {"auths": {key: auth("me", "word")}})
    assert found(home) == ("me", "word")


def test_docker_hub_is_known_by_the_name_that_docker_gives_it(home: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / ".docker/config.json", {"auths": {"https://index.docker.io/v1/": auth("me", "word")}})
    assert found(home, "docker.io", "library/x") == ("me", "word")
    assert found(home) is None


def test_what_podman_login_left_comes_first_and_knows_repositories(home: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / ".docker/config.json", {"auths": {HOST: auth("docker", "1")}})
    write(tmp_path / ".config/containers/auth.json", {"auths": {HOST: auth("podman", "2")}})
    assert found(home) == ("podman", "2")
    entries = {HOST: auth("all", "3"), f"{HOST}/team": auth("team", "4"), f"{HOST}/team/cpu": auth("cpu", "5")}
    write(tmp_path / "run/containers/auth.json", {"auths": entries})
    assert found(home) == ("cpu", "5")
    assert found(home, name="team/other") == ("team", "4")
    assert found(home, name="teams") == ("all", "3")


def test_a_file_that_is_named_is_the_only_one(home: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / ".docker/config.json", {"auths": {HOST: auth("docker", "1")}})
    named = write(tmp_path / "named.json", {"auths": {"other.com": auth("x", "y")}})
    assert found({**home, "REGISTRY_AUTH_FILE": str(named)}) is None
    with pytest.raises(UsageError, match="REGISTRY_AUTH_FILE"):
        found({**home, "REGISTRY_AUTH_FILE": str(tmp_path / "missing.json")})


def helper(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bin/docker-credential-test"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")


@pytest.mark.parametrize("document", [{"credsStore": "test"}, {"credHelpers": {HOST: "test"}}])
def test_a_credential_helper_is_asked(
    document: dict[str, object], home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = '{"ServerURL":"%s","Username":"me","Secret":"word"}'
    script = f"""[ "$1" = get ] && server=$(cat) && [ "$server" = {HOST} ] && printf '{answer}' "$server" && exit
echo credentials not found in native keychain; exit 1"""
    helper(tmp_path, script, monkeypatch)
    write(tmp_path / ".docker/config.json", {"auths": {HOST: {}}, **document})
    assert found(home) == ("me", "word")
    assert found(home, "other.com") is None


def test_a_helpers_identity_token_is_one(home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, """cat >/dev/null; printf '{"Username":"<token>","Secret":"abc"}'""", monkeypatch)
    write(tmp_path / ".docker/config.json", {"credsStore": "test"})
    assert find_credentials(HOST, "x", home) == Credentials(identity_token="abc")
    write(tmp_path / ".docker/config.json", {"auths": {HOST: {"identitytoken": "def", "auth": ""}}})
    assert find_credentials(HOST, "x", home) == Credentials(identity_token="def")


def test_a_helper_that_fails_is_named_and_not_quoted(
    home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / ".docker/config.json", {"credsStore": "test"})
    with pytest.raises(PrerequisiteError, match="docker-credential-test is not installed"):
        found(home)
    for script in ("cat >/dev/null; echo secret; echo secret >&2; exit 3", "cat >/dev/null; echo secret"):
        helper(tmp_path, script, monkeypatch)
        with pytest.raises(ToolError, match="docker-credential-test") as failed:
            found(home)
        assert "secret" not in str(failed.value)


@pytest.mark.parametrize(
    "text",
    [
        "{ not json, secret",
        '{"auths": {"registry.example.com": {"auth": "c2VjcmV0"}}}',
        '{"auths": {"registry.example.com": {"auth": "secret!!"}}}',
        '{"credsStore": "../secret"}',
        '{"auths": 3}' + " " * (2 << 20),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_not_quoted(text: str, home: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / ".docker/config.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(HarnessError, match=r"config\.json") as refused:
        found(home)
    assert "secret" not in str(refused.value)


def test_an_empty_or_odd_file_says_nothing(home: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / ".docker/config.json"
    path.parent.mkdir()
    for text in ("", "[]", "{}", '{"auths": [1]}', '{"auths": {"registry.example.com": 3}}', '{"credHelpers": "x"}'):
        path.write_text(text)
        assert found(home) is None, text


def test_credentials_are_not_shown_by_accident() -> None:
    known = Credentials("me", "word", "token")
    assert "word" not in f"{known} {known!r} {[known]}"
    assert "token" not in f"{known} {known!r}"
    assert base64.b64decode(known.basic) == b"me:word"
