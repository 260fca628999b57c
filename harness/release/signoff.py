"""The page that a release manager signs: what each step of a check looked at, what it saw, what is not covered."""

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.record.cells import Metrics
from harness.release.formats.markdown import code, prose
from harness.release.formats.text import count, shown
from harness.release.formats.view import View, view
from harness.release.report import DriftReport
from harness.runs.summary import main_metric
from harness.spec.digest import Digest, hexadecimal

SCHEMA = "harness.release-check/1"
PAGE = "sign-off"
_LOADER = PackageLoader("harness.release")


class StepState(StrEnum):
    """What became of a step. `not done` is no pass where the step has an exit code."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_DONE = "not done"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step: what was checked, what was seen, how many seconds it took, and the exit code that it calls for."""

    name: str
    checked: str
    state: StepState
    seen: tuple[str, ...]
    seconds: float
    exit_code: int


class ImageLine(msgspec.Struct, frozen=True, kw_only=True):
    """An image's locked identity; `layers` is how many, `anew` whether it was just made again with that identity."""

    name: str
    manifest: Digest
    config: Digest
    layers: int
    anew: bool


class GoldenCellLine(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of a golden run, and what its repetition said of it."""

    target: str
    view: str
    symbol: str | None
    family: str
    fingerprint: Digest
    metrics: Metrics
    verdict: str
    reasons: tuple[str, ...]

    @property
    def metric(self) -> str:
        """The main metric, in words."""
        name, value = main_metric(self.metrics)
        return "-" if value is None else f"{name} {value:.4f}"


class GoldenLine(msgspec.Struct, frozen=True, kw_only=True):
    """A golden run in one environment, and the runs that it was held against, by name."""

    environment: str
    experiment: str
    quick: bool
    run: str
    against: tuple[str, ...]
    cells: tuple[GoldenCellLine, ...]

    @property
    def summary(self) -> str:
        """`24 identical`, `23 identical, 1 divergent`."""
        found = [cell.verdict for cell in self.cells]
        return ", ".join(f"{found.count(verdict)} {verdict}" for verdict in dict.fromkeys(sorted(found, reverse=True)))


class Evidence(msgspec.Struct, frozen=True):
    """Something to look up: what it is, where it lies, and the digest of its content."""

    what: str
    where: str
    digest: Digest


class SignOff(msgspec.Struct, frozen=True, kw_only=True):
    """A whole release check. `created_at` is UTC, `machine` describes the one that it ran on.

    `exit_code` is what the command answers, `against` the release whose baseline was the measure (null: a first one).
    """

    schema: str = SCHEMA
    release: str
    project: str
    commit: str
    created_at: str
    machine: Mapping[str, str]
    against: str | None
    steps: tuple[Step, ...]
    images: tuple[ImageLine, ...]
    golden: tuple[GoldenLine, ...]
    drift: DriftReport | None
    not_covered: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    exit_code: int

    @property
    def verdict(self) -> str:
        """The check in one line."""
        if self.exit_code == 0:
            left = [step.name for step in self.steps if step.state is StepState.NOT_DONE]
            return f"Passed. Not done: {', '.join(left)}." if left else "Every step passed."
        failed = [step.name for step in self.steps if step.exit_code != 0]
        return f"DO NOT RELEASE: {', '.join(failed)} (exit code {self.exit_code})."


class _Row(msgspec.Struct, frozen=True):
    mark: str
    state: str
    name: str
    checked: str
    seen: tuple[str, ...]
    seconds: str


_PLAIN = re.compile(r"(?:[A-Za-z0-9 .,:;/()'%=+-]|(?<=[A-Za-z0-9])_(?=[A-Za-z0-9]))*")
_WORD = re.compile(r"[A-Za-z0-9_.:/@=+-]+")
_LINK = re.compile(r"://|www\.", re.IGNORECASE)
_MARKS = {StepState.PASSED: "✔", StepState.FAILED: "✘", StepState.NOT_DONE: "·"}


def markdown(page: SignOff) -> str:
    """The page as Markdown."""
    templates = Environment(loader=_LOADER, autoescape=False, undefined=StrictUndefined, trim_blocks=True)  # noqa: S701
    templates.filters |= {"prose": _prose, "code": _code}
    return templates.get_template("sign-off.md.j2").render(**_parts(page)) + "\n"


def html(page: SignOff) -> str:
    """The page as HTML that needs nothing but itself; whatever its texts hold is escaped."""
    templates = Environment(loader=_LOADER, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return templates.get_template("sign-off.html.j2").render(**_parts(page)) + "\n"


def _parts(page: SignOff) -> dict[str, object]:
    drift: View | None = None if page.drift is None else view(page.drift)
    return {
        "page": page,
        "steps": [_row(step) for step in page.steps],
        "drift": drift,
        "facts": [(name, shown(value)) for name, value in page.machine.items()],
        "not_covered": [shown(sentence) for sentence in page.not_covered],
        "waivers": () if drift is None else drift.waivers,
        "short": _short,
        "count": count,
        "shown": shown,
        "seen_from": lambda name: shown(name.lower().replace("_", " ")),
    }


def _prose(text: str) -> str:
    """Text as Markdown; what no reader of Markdown takes for syntax stays as it is, because the page is printed too."""
    return text if _PLAIN.fullmatch(text) and not _LINK.search(text) else prose(text)


def _code(text: str) -> str:
    return f"`{text}`" if _WORD.fullmatch(text) else code(text)


def _row(step: Step) -> _Row:
    return _Row(
        mark=_MARKS[step.state],
        state=step.state.value,
        name=step.name,
        checked=shown(step.checked),
        seen=tuple(shown(line) for line in step.seen),
        seconds=f"{step.seconds:.1f} s",
    )


def _short(digest: Digest) -> str:
    return hexadecimal(digest)[:12]
