"""What a profile asks of the processor. Standard library only."""

import platform
from collections.abc import Iterable
from pathlib import Path

X86_64_V3 = ("abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave")
"""What the level has beyond x86-64-v2, by Linux's names of the flags (x86-64 psABI, section 3.1.1).

`abm` is where `lzcnt` is from; `avx` is only shown where the system saves its registers (`osxsave`).
"""


def processor_facts(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """The first processor's entries in Linux's own words (`vendor_id`, `flags`, …); empty where there are none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n", 1)[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def missing_features(profile: str, flags: Iterable[str], machine: str | None = None) -> list[str]:
    """What `profile` needs and a processor with these flags lacks; `machine` is the architecture, this one's if null.

    Nothing is missing where no flags are known on a machine of the right architecture: its libraries will tell.
    """
    if profile == "native":
        return []
    machine = platform.machine() if machine is None else machine
    if machine not in ("x86_64", "AMD64"):
        return [f"x86-64 (this is {machine})"]
    known = set(flags)
    return sorted(set(X86_64_V3) - known) if known else []
