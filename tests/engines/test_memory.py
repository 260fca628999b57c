import subprocess
import sys
from pathlib import Path

import pytest

from harness.engines.memory import ContainerMemory, SessionMemory, session_members


def fake(tmp_path: Path, membership: str, file: str, text: str) -> ContainerMemory:
    (tmp_path / "proc/5").mkdir(parents=True)
    (tmp_path / "proc/5/cgroup").write_text(membership)
    path = tmp_path / "cgroup" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return ContainerMemory(5, proc=tmp_path / "proc", cgroups=tmp_path / "cgroup")


@pytest.mark.parametrize(
    ("membership", "file"),
    [
        ("9:memory:/docker/abc\n0::/docker/abc\n", "memory/docker/abc/memory.max_usage_in_bytes"),
        ("4:cpu,memory:/docker/a:b\n", "memory/docker/a:b/memory.max_usage_in_bytes"),
        ("0::/system.slice/docker-abc.scope\n", "system.slice/docker-abc.scope/memory.peak"),
    ],
)
def test_the_kernels_mark_is_found_in_both_versions(tmp_path: Path, membership: str, file: str) -> None:
    memory = fake(tmp_path, membership, file, "12345\n")
    assert memory.peak is None
    memory.sample()
    assert memory.peak == 12345


def test_the_last_mark_stays_when_the_group_has_gone(tmp_path: Path) -> None:
    memory = fake(tmp_path, "0::/x\n", "x/memory.peak", "7")
    memory.sample()
    (tmp_path / "cgroup/x/memory.peak").unlink()
    memory.sample()
    assert memory.peak == 7


@pytest.mark.parametrize("pid", [0, 5])
def test_where_nothing_can_be_seen_nothing_is_said(tmp_path: Path, pid: int) -> None:
    memory = ContainerMemory(pid, proc=tmp_path, cgroups=tmp_path)
    memory.sample()
    assert memory.peak is None


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc")
def test_a_sessions_memory_counts_every_process_and_shared_pages_once() -> None:
    code = """
import os, sys
block = bytearray(os.urandom(1 << 20) * 64)
if os.fork() == 0:
    more = bytearray(os.urandom(1 << 20) * 32)
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)
os.wait()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    memory = SessionMemory(process.pid)
    memory.sample()
    assert len(session_members(process.pid)) == 2
    process.communicate()
    assert memory.peak is not None
    assert 96 << 20 < memory.peak < 140 << 20
    assert session_members(process.pid) == []
