"""Seeds of a sweep's trials: by number or by what is tried, never by which worker takes a trial, or when."""

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any, SupportsIndex

from harness.errors import UsageError
from harness.record.canonical import canonical_json
from harness.strict.seeds import normalize_seed, resolve_seed


def trial_seed(base: SupportsIndex, trial: SupportsIndex | Mapping[str, Any]) -> int:
    """The seed of one trial, from 1 to 2**31 - 2, by recipe v2 of `strict.seeds`.

    `trial` is its number, or its parameters: then the same parameters have the same seed in every sweep, in whatever
    order and however many trials there are; the order of the mapping's keys does not count. `1` and `1.0` are two
    values, and NumPy's scalars count as Python's.

    Raises:
        UsageError: `base` is no seed, the number is negative, or a parameter has no canonical form.
    """
    if not isinstance(trial, Mapping):
        if isinstance(trial, bool) or not hasattr(trial, "__index__") or trial.__index__() < 0:
            raise UsageError(
                f"{trial!r:.60} is no trial", hint="Give its number from 0, or a mapping of its parameters."
            )
        return resolve_seed(base, "trial", version="v2", trial=trial.__index__())
    normalize_seed(base)
    try:
        data = canonical_json(_plain(trial))
    except (TypeError, RecursionError) as error:
        raise UsageError(
            f"The parameters of a trial cannot be written down: {error}",
            hint="Use text, numbers, booleans, null, and lists and mappings of these.",
        ) from error
    number = int.from_bytes(hashlib.sha256(data).digest()[:16], "big")
    return resolve_seed(base, "trial-parameters", version="v2", trial=number)


def _plain(value: Any) -> Any:
    """`value` with Python's own numbers in the place of a library's scalars."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    return value
