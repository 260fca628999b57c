"""What holds where the experiment file, the environment and the pipeline's defaults speak of mode, seed and recipe."""

from collections.abc import Mapping

import msgspec

from harness.errors import UsageError
from harness.spec.experiment import Reproducibility
from harness.spec.run import Mode

BASE_SEED = 42
VERSIONS = ("v1", "v2")


def resolve(reproducibility: Reproducibility, environ: Mapping[str, str]) -> Reproducibility:
    """`reproducibility` with `REPRO_MODE`, `REPRO_SEED` and `REPRO_VERSION` over it, and no seed left open.

    Raises:
        UsageError: one of the variables has a value that means nothing; the message names it.
    """
    mode = environ.get("REPRO_MODE", reproducibility.mode.value)
    if mode not in [known.value for known in Mode]:
        raise UsageError(f"REPRO_MODE is {mode!r}", hint="Set it to strict or best_effort.")
    version = environ.get("REPRO_VERSION", reproducibility.version)
    if version not in VERSIONS:
        raise UsageError(f"REPRO_VERSION is {version!r}", hint=f"Set it to {' or '.join(VERSIONS)}.")
    return msgspec.structs.replace(
        reproducibility, mode=Mode(mode), seed=_seed(reproducibility.seed, environ), version=version
    )


def _seed(configured: int | None, environ: Mapping[str, str]) -> int:
    text = environ.get("REPRO_SEED")
    if text is None:
        return BASE_SEED if configured is None else configured
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"REPRO_SEED is {text!r}", hint="Set it to a whole number from 0.")
    return int(text)
