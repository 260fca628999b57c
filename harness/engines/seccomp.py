"""The system calls that a run may make (`docker/seccomp.json`), the same with every version of every engine.

The profile is our own and shorter than the engines' defaults, which differ from version to version: it allows what a
program without privileges, new namespaces or a network needs. Format: https://docs.docker.com/engine/security/seccomp/
"""

import json
from pathlib import Path
from typing import Any

from harness.errors import PrerequisiteError

PROFILE = Path(__file__).resolve().parents[2] / "docker" / "seccomp.json"
ADDR_NO_RANDOMIZE = 0x0040000  # <sys/personality.h>

_FIXED_ADDRESSES: dict[str, Any] = {
    "comment": "Switching address randomisation off",
    "names": ["personality"],
    "action": "SCMP_ACT_ALLOW",
    "args": [{"index": 0, "value": ADDR_NO_RANDOMIZE, "op": "SCMP_CMP_EQ"}],
}


def seccomp_profile(*, fixed_addresses: bool, path: Path = PROFILE) -> str:
    """The profile as JSON text; with `fixed_addresses` and the one more rule that switching randomisation off needs.

    Raises:
        PrerequisiteError: the profile is missing, unreadable or not a profile: no run may go without it.
    """
    try:
        profile = json.loads(path.read_bytes())
        rules = profile["syscalls"]
        if profile["defaultAction"] != "SCMP_ACT_ERRNO" or not isinstance(rules, list):
            raise ValueError("it does not refuse by default")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PrerequisiteError(
            f"The seccomp profile {path} cannot be used: {error}",
            hint="Restore docker/seccomp.json from the repository.",
        ) from error
    if fixed_addresses:
        profile["syscalls"] = [*rules, _FIXED_ADDRESSES]
    return json.dumps(profile)
