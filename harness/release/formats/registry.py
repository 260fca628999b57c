"""Which formats there are, what a user asks for with `NAME` or `NAME=FILE`, and writing several in one call."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from harness.errors import UsageError
from harness.release.formats.html import HtmlFormat
from harness.release.formats.interface import Format
from harness.release.formats.json import JsonFormat
from harness.release.formats.junit import JunitFormat
from harness.release.formats.markdown import MarkdownFormat
from harness.release.formats.sarif import SarifFormat
from harness.release.formats.table import TableFormat
from harness.release.outputs import check_guarded, check_place, clear_place, write_place
from harness.release.report import DriftReport
from harness.spec.documents import suggestion

FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (TableFormat(), JsonFormat(), MarkdownFormat(), JunitFormat(), SarifFormat(), HtmlFormat())
}
DEFAULT = "table"


class Output(msgspec.Struct, frozen=True):
    """A format, and the file it goes to; to stdout where `path` is null."""

    format: str
    path: Path | None


def parse_outputs(items: Sequence[str]) -> tuple[Output, ...]:
    """What was asked for, in its order: `json` or `json=-` is stdout, `sarif=drift.sarif` a file; nothing: a table.

    Raises:
        UsageError: a format is unknown, a file's name is empty or given twice, or two would go to stdout.
    """
    outputs = tuple(_parse(item) for item in items) or (Output(DEFAULT, None),)
    to_stdout = [output.format for output in outputs if output.path is None]
    if len(to_stdout) > 1:
        hint = f"Give all but one a file, as in {to_stdout[1]}=FILE."
        raise UsageError(f"{' and '.join(to_stdout)} cannot both go to stdout", hint=hint)
    seen: dict[Path, str] = {}
    for output in outputs:
        if output.path is None:
            continue
        target = output.path.resolve()
        if target in seen:
            raise UsageError(
                f"{output.path} is given for both {seen[target]} and {output.format}", hint="Name two files."
            )
        seen[target] = output.format
    return outputs


def check_places(outputs: Sequence[Output]) -> None:
    """Refuse files that could not be written, before the report is made.

    Raises:
        UsageError: one is a folder, or its folder is missing or not writable.
    """
    for output in outputs:
        if output.path is not None:
            check_place(output.path)


def clear_places(outputs: Sequence[Output], guarded: Mapping[Path, str]) -> None:
    """Remove what lies where the report is to be written: one of another day must not be taken for today's.

    A check that comes to no answer then leaves no file, whatever stops it: where one place is refused, the others are
    cleared all the same. Devices and pipes stay. `guarded` are files and folders, resolved, that nothing is removed
    from or written to, with the reasons (`guarded_places`); every place is looked at before the first is cleared.

    Raises:
        UsageError: a file is guarded, or could not be written or removed; the first of them is named.
    """
    files = [output.path for output in outputs if output.path is not None]
    errors: list[UsageError] = []
    free = _attempt(files, lambda path: _check_free(path, guarded), errors)
    _attempt(free, clear_place, errors)
    if errors:
        raise errors[0]


def write_outputs(
    report: DriftReport,
    outputs: Sequence[Output],
    stdout_writer: Callable[[str], object],
    *,
    terminal_width: int | None = None,
) -> None:
    """Write the report in every format asked for: all are rendered first, then files are written whole, stdout last.

    `terminal_width` is that of the terminal that stdout is, null where it is none: a table there gets colours and fits.

    Raises:
        UsageError: a file's folder is not there, or it cannot be written.
    """
    check_places(outputs)
    texts = [(output, _format(output, terminal_width).render(report)) for output in outputs]
    for output, text in texts:
        if output.path is not None:
            write_place(output.path, text)
    for output, text in texts:
        if output.path is None:
            stdout_writer(text)


def _check_free(path: Path, guarded: Mapping[Path, str]) -> None:
    check_place(path)
    check_guarded(path, guarded)


def _attempt(files: Sequence[Path], act: Callable[[Path], None], errors: list[UsageError]) -> list[Path]:
    """Do it to each file: the files where that went well; what stopped it elsewhere is added to `errors`."""
    done = []
    for path in files:
        try:
            act(path)
        except UsageError as error:
            errors.append(error)
        else:
            done.append(path)
    return done


def _parse(item: str) -> Output:
    name, equals, place = item.partition("=")
    if name not in FORMATS:
        raise UsageError(f"There is no format {name[:60]!r}", hint=suggestion(name, FORMATS))
    if equals and not place:
        raise UsageError(f"{item!r} names no file", hint=f"Write {name}=FILE, or {name} alone for stdout.")
    if "\0" in place:
        raise UsageError(f"{item!r} names no file that can be", hint=f"Write {name}=FILE.")
    return Output(name, None if place in ("", "-") else Path(place))


def _format(output: Output, terminal_width: int | None) -> Format:
    if output.format == TableFormat.name and output.path is None and terminal_width is not None:
        return TableFormat(width=terminal_width, color=True)
    return FORMATS[output.format]
