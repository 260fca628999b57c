"""A matrix in words: the rows of its two tables, and both as Markdown."""

import re
from collections import Counter
from collections.abc import Sequence

from harness.release.matrix import FamilyDistance, Matrix, PairResult, Reason, State

ENVIRONMENT_COLUMNS = ("Environment", "Answer", "Cells", "Runs", "Why")
PAIR_COLUMNS = ("Before", "After", "Verdict", "Because of", "Distance")
_SHOWN = 8
_KERNEL = re.compile(r"probe (?P<library>[^/]+)/.+")
_OTHER_FILES = re.compile(r"library (?P<library>\S+) \S+ with other files .+")


def environment_rows(matrix: Matrix) -> tuple[tuple[str, ...], ...]:
    """A row an environment: what it answered, its cells by verdict, its runs, and why where it is not identical."""
    return tuple(
        (one.name, one.state.value, _counts(one.verdicts), "\n".join(one.runs) or "-", _why(one.reasons))
        for one in matrix.environments
    )


def pair_rows(matrix: Matrix) -> tuple[tuple[str, ...], ...]:
    """A row a pair of environments: its cells by verdict, what keeps them apart, how far apart the numbers are."""
    return tuple(
        (
            pair.before,
            pair.after,
            _counts(pair.verdicts),
            "\n".join(_reason(reason, pair) for reason in pair.reasons) or "-",
            "\n".join(map(_distance, pair.families)) or "-",
        )
        for pair in matrix.pairs
    )


def conclusion(matrix: Matrix) -> str:
    """One sentence that says how many environments repeat themselves, and how many were not tried."""
    states = [one.state for one in matrix.environments]
    skipped = states.count(State.SKIPPED)
    tried = len(states) - skipped
    tail = f"; {skipped} skipped, of which nothing is known" if skipped else ""
    return f"{states.count(State.IDENTICAL)} of {tried} environments that ran repeat themselves bit for bit{tail}."


def markdown(matrix: Matrix) -> str:
    """The whole matrix as a Markdown page."""
    quick = ", quick variant" if matrix.quick else ""
    parts = [f"## Matrix: {matrix.experiment}{quick}, profile {matrix.profile}", conclusion(matrix)]
    parts.append(_table(ENVIRONMENT_COLUMNS, environment_rows(matrix)))
    if matrix.pairs:
        parts.append(_table(PAIR_COLUMNS, pair_rows(matrix)))
    return "\n\n".join(parts) + "\n"


def _counts(verdicts: dict[str, int]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) or "-"


def _why(reasons: Sequence[str]) -> str:
    more = [f"and {len(reasons) - _SHOWN} more"] if len(reasons) > _SHOWN else []
    return "\n".join([*reasons[:_SHOWN], *more]) or "-"


def _reason(reason: Reason, pair: PairResult) -> str:
    cells = sum(pair.verdicts.values())
    where = "" if reason.cells == cells else f" in {reason.cells} of {cells} cells"
    return (
        f"{reason.field}{where} ({'; '.join(_condensed(reason.changes))})" if reason.changes else reason.field + where
    )


def _condensed(changes: Sequence[str]) -> tuple[str, ...]:
    """The phrases of `record.changes` fit for one cell of a table: long families of them are counted."""
    kernels = Counter(found["library"] for found in map(_KERNEL.fullmatch, changes) if found)
    rebuilt = [found["library"] for found in map(_OTHER_FILES.fullmatch, changes) if found]
    single = [change for change in changes if not _KERNEL.fullmatch(change) and not _OTHER_FILES.fullmatch(change)]
    counted = [f"probe of {library}: {_many(count, 'kernel')}" for library, count in kernels.items()]
    if rebuilt:
        counted.append(f"the same version with other files: {_list(rebuilt)}")
    more = [f"and {len(single) - _SHOWN} more"] if len(single) > _SHOWN else []
    return (*single[:_SHOWN], *more, *counted)


def _distance(one: FamilyDistance) -> str:
    if one.identical == one.cells:
        return f"{one.family}: {one.cells} of {_many(one.cells, 'cell')} bit-equal"
    said = [f"{one.identical} of {_many(one.cells, 'cell')} bit-equal"]
    if one.same_predictions == one.cells:
        said.append("predictions equal in all")
    elif one.relative is not None:
        said.append(f"predictions apart by up to {one.relative:.2g} of their spread")
    if one.correlation is not None and one.same_predictions < one.cells:
        said.append(f"correlation at least {one.correlation:.6f}")
    if one.metric is not None:
        said.append(f"{one.metric} by up to {one.delta:+.2g}")
    if one.unpaired:
        said.append(f"{_many(one.unpaired, 'cell')} with other rows")
    return f"{one.family}: {', '.join(said)}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _table(columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    lines = [columns, ("---",) * len(columns), *(tuple(map(_cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", "<br>")
