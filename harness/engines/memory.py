"""How much memory a run takes, read where the kernel counts it."""

import re
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


class ContainerMemory:
    """The high-water mark of a container's control group; null where this machine can't see it (Docker Desktop).

    The kernel keeps the mark itself, so a sample now and then loses only what rose after the last one.
    """

    def __init__(self, pid: int, *, proc: Path = Path("/proc"), cgroups: Path = _CGROUPS) -> None:
        self._file = _peak_file(proc / str(pid) / "cgroup", cgroups) if pid > 0 else None
        self.peak: int | None = None

    def sample(self) -> None:
        """Read the mark."""
        if self._file is None:
            return
        try:
            self.peak = int(self._file.read_text())
        except (OSError, ValueError):
            self._file = None


def _peak_file(membership: Path, cgroups: Path) -> Path | None:
    """Lines are `number:controllers:path`; version 2 has no controllers (man 7 cgroups)."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return cgroups / "memory" / path.lstrip("/") / "memory.max_usage_in_bytes"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            return cgroups / path.lstrip("/") / "memory.peak"
    return None


class SessionMemory:
    """The memory of all processes of a session, shared pages counted once (proportional set size, man 5 proc)."""

    def __init__(self, leader: int, *, proc: Path = Path("/proc")) -> None:
        self._leader = leader
        self._proc = proc
        self.current: int | None = None
        self.peak: int | None = None

    def sample(self) -> None:
        """Add up what the processes take now, in bytes."""
        sizes = [_proportional_size(self._proc / str(pid)) for pid in session_members(self._leader, proc=self._proc)]
        if sizes:
            self.current = sum(sizes)
            self.peak = max(self.peak or 0, self.current)


def session_members(leader: int, *, proc: Path = Path("/proc")) -> list[int]:
    """The ids of the processes of the session that `leader` began."""
    members = []
    for folder in proc.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended since
        if int(fields[3]) == leader and fields[0] not in "ZX":
            members.append(int(folder.name))
    return members


def _proportional_size(folder: Path) -> int:
    try:
        match = re.search(r"^Pss: +([0-9]+) kB$", (folder / "smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) << 10 if match else 0
