"""Who a run belongs to, so that what a killed harness left behind can be told from another's run."""

import os
import secrets
from pathlib import Path


def owner_label() -> str:
    """A label of this process, and a few letters that make it unique: `PIDNAMESPACE:PID:START:LETTERS`.

    START is when the process began, because a process id is given out again. Where there is no `/proc` the first and
    third part are empty.
    """
    return f"{_namespace()}:{os.getpid()}:{_start(os.getpid())}:{secrets.token_hex(3)}"


def is_gone(label: str) -> bool:
    """Whether the process of a label has certainly ended; what is in another container or machine is unknown."""
    try:
        namespace, pid, start, _ = label.split(":")
        number = int(pid)
    except ValueError:
        return False
    return bool(namespace) and namespace == _namespace() and _start(number) != start


def _namespace() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - pathlib would resolve the link's text
    except OSError:
        return ""


def _start(pid: int) -> str:
    """When a process began, in ticks since boot; empty for one that has ended, also if nobody has reaped it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
