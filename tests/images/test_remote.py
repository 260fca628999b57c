import pytest

from harness.errors import UsageError
from harness.images.remote import RemoteReference, is_loopback, parse_remote

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.example.com/cpu", RemoteReference("registry.example.com", "cpu")),
        ("localhost/cpu", RemoteReference("localhost", "cpu")),
        ("host:5000/team/cpu:v1.3", RemoteReference("host:5000", "team/cpu", "v1.3")),
        (f"[::1]:5000/a/b__c/d-e@{DIGEST}", RemoteReference("[::1]:5000", "a/b__c/d-e", None, DIGEST)),
        (f"127.0.0.1:5000/cpu:v1@{DIGEST}", RemoteReference("127.0.0.1:5000", "cpu", "v1", DIGEST)),
    ],
)
def test_a_name_is_read_and_written_alike(text: str, expected: RemoteReference) -> None:
    assert parse_remote(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "cpu", "team/cpu", "/cpu", "registry.example.com/", "registry.example.com", "https://registry.example.com/cpu",
        "user:word@registry.example.com/cpu", "registry.example.com/Cpu", "registry.example.com/a//b",
        "registry.example.com/../b", "registry.example.com/a:", "registry.example.com/a:-x", "host:0/a", "host:70000/a",
        "registry.example.com/a@sha256:12", "registry.example.com/a@", f"registry.example.com/{'a' * 256}", "host:x/a",
        "registry.example.com/a?b", "registry.example.com/a b", "host .com/a", "registry.example.com/a:b\n",
    ],
)  # fmt: skip
def test_what_names_no_image_in_a_registry_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_remote(text)


def test_a_password_in_a_name_is_not_repeated() -> None:
    with pytest.raises(UsageError) as refused:
        parse_remote("user:hunter2@registry.example.com/cpu")
    assert "hunter2" not in str(refused.value)


def test_this_machine_is_told_from_others() -> None:
    for host in ("localhost", "LOCALHOST:5000", "127.0.0.1", "127.9.9.9:80", "[::1]:5000", "::1"):
        assert is_loopback(host), host
    for host in ("localhost.example.com", "127.0.0.1.example.com:80", "0.0.0.0", "10.0.0.1:5000", "[fe80::1]", ""):
        assert not is_loopback(host), host
