"""A survey: run an environment for a moment, and let it say what it is and what its kernels give."""

import msgspec

from harness.record.environment import Captured


class Survey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an environment said of itself when it was run: `captured` from inside, with a probe of every library.

    `variables` are the run's, without seeds; `engine` is what the engine says of itself; `memory` is the
    machine's, in bytes.
    """

    captured: Captured
    variables: dict[str, str]
    engine: dict[str, str]
    memory: int
