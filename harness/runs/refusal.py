"""What a run's processes left word of: not strict, an operator refused, or what libraries chose not recorded."""

from pathlib import Path

from harness.errors import IntegrityError
from harness.record.attempts import REFUSED
from harness.record.environment import Captured

_LOADED, _VERIFIED, _OPERATOR = "loaded-", "verified-", "refused-operator-"


def require_strict(output: Path) -> None:
    """Refuse to keep a run of which a process stopped because it was not strict, whoever ignored that.

    Raises:
        IntegrityError: one did; in its own words.
    """
    try:
        message, _, hint = (output / REFUSED).read_text(encoding="utf-8", errors="replace").partition("\n")
    except FileNotFoundError:
        return
    raise IntegrityError(f"{message or 'A process was not strict'}; the run is not kept", hint=hint.strip() or None)


def unrecorded(output: Path, captured: Captured, *, strict: bool) -> list[str]:
    """A sentence for each library that was loaded in processes that ended before they could say how.

    Of a strict run each process that loaded a library should have been verified afterwards: a signal leaves no time.
    """
    sentences = []
    for name in sorted(path.name.removeprefix(_LOADED) for path in output.glob(f"{_LOADED}*")):
        loaded, verified = _count(output / f"{_LOADED}{name}"), _count(output / f"{_VERIFIED}{name}")
        silent = loaded - verified
        if name not in captured.probe:
            unverified = (
                ", nor was it verified at the end that its settings still held"
                if strict and (silent > 0 or not verified)
                else ""
            )
            sentences.append(
                f"What {name} selected is not recorded{unverified}: the processes that loaded it ended without "
                "Python's leave (os._exit, a signal, a forked worker)"
            )
        elif strict and silent > 0:
            sentences.append(
                f"It was not verified at the end that the settings of {name} still held in {silent} of the {loaded} "
                "processes that loaded it: a signal ended them, or they became another program"
            )
    return sentences


def _count(path: Path) -> int:
    """How many processes a note counts, a byte each."""
    return path.stat().st_size if path.is_file() else 0


def refused_operators(output: Path, exit_code: int) -> list[str]:
    """A sentence for each operator that the profile refused; the program may have caught that and gone on."""
    names = sorted(path.name.removeprefix(_OPERATOR) for path in output.glob(f"{_OPERATOR}*"))
    went_on = "went on and ended well" if exit_code == 0 else f"ended with exit code {exit_code}"
    return [f"The profile x86-64-v3 refused {name}, and the program {went_on}" for name in names]
