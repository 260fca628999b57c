"""How much memory a run took, read where the kernel counts it."""

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
