import json
from pathlib import Path

import pytest

from harness.engines.seccomp import PROFILE, seccomp_profile
from harness.errors import PrerequisiteError


def test_fixed_addresses_add_one_rule_and_no_more() -> None:
    plain = json.loads(seccomp_profile(fixed_addresses=False))
    fixed = json.loads(seccomp_profile(fixed_addresses=True))
    added = [rule for rule in fixed.pop("syscalls") if rule not in plain["syscalls"]]
    assert [(rule["names"], rule["args"][0]["value"]) for rule in added] == [(["personality"], 262144)]
    plain.pop("syscalls")
    assert fixed == plain


def test_what_is_not_named_is_refused() -> None:
    profile = json.loads(PROFILE.read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
        for name in rule["names"]
    }
    dangerous = {
        "add_key", "bpf", "chroot", "clone", "clone3", "delete_module", "finit_module", "init_module", "io_uring_setup",
        "kexec_load", "keyctl", "mount", "move_mount", "open_by_handle_at", "perf_event_open", "personality",
        "pivot_root", "process_vm_readv", "ptrace", "reboot", "setns", "socket", "swapon", "umount2", "unshare",
        "userfaultfd",
    }  # fmt: skip
    assert not allowed & dangerous
    assert {"execve", "futex", "mmap", "read", "rt_sigaction", "write"} <= allowed


def test_no_call_is_named_twice_without_arguments() -> None:
    rules = json.loads(PROFILE.read_text())["syscalls"]
    names = [name for rule in rules if "args" not in rule for name in rule["names"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"syscalls": []}', '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}']
)
def test_a_profile_that_would_protect_from_nothing_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "seccomp.json"
    path.write_text(text)
    with pytest.raises(PrerequisiteError, match=r"seccomp\.json cannot be used"):
        seccomp_profile(fixed_addresses=False, path=path)


def test_a_missing_profile_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"missing\.json cannot be used"):
        seccomp_profile(fixed_addresses=False, path=tmp_path / "missing.json")
