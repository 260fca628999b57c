"""The report as SARIF 2.1.0, for code scanning (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html).

Every result has our own fingerprint, which is the same in every check that finds the same change, and a location,
because code scanning refuses results without one: where a change has none, it is the baseline's file, or in a
rehearsal, which has none, the lock.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import quote

import msgspec

from harness.record.hashing import signature
from harness.record.jsonfile import pretty_json
from harness.release.formats.fate import fails
from harness.release.formats.names import identity, label
from harness.release.formats.sentences import FAILING_WAIVERS, advice, verdict
from harness.release.formats.text import visible
from harness.release.report import (
    Answer,
    Change,
    DriftReport,
    EnvironmentDrift,
    Location,
    NotTested,
    Purpose,
    Severity,
    WaiverOutcome,
)
from harness.release.site import BASELINES
from harness.spec.digest import Digest

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "harnessChange/v1"

Json = dict[str, object]

_ROOT = "%SRCROOT%"
_HELP = "docs/drift.md says what to do."


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One result before it is written. A `kind` other than `fail` has level `none` (§3.27.10)."""

    rule: str
    kind: str
    level: str
    text: str
    location: Json
    fingerprint: Digest
    related: tuple[Json, ...] = ()
    suppressions: tuple[Json, ...] = ()
    properties: Json = {}


class SarifFormat:
    """One run with a result for each change, each thing not tested, and each waiver that does not hold."""

    name = "sarif"

    def render(self, report: DriftReport) -> str:
        """The log."""
        results = [result for drift in report.environments for result in _environment(report, drift)]
        results += [_waiver(report, waiver) for waiver in report.waivers if waiver.state in FAILING_WAIVERS]
        rules = {rule: index for index, rule in enumerate(dict.fromkeys(result.rule for result in results))}
        purpose = report.purpose.value
        log = {
            "$schema": SARIF_SCHEMA,
            "version": "2.1.0",
            "runs": [
                {
                    "tool": {"driver": {"name": f"harness {purpose}", "rules": [_rule(rule) for rule in rules]}},
                    "automationDetails": {
                        "id": f"harness-{purpose}/{quote(report.baseline, safe='')}/{identity(report)}/"
                    },
                    "originalUriBaseIds": {_ROOT: {"description": {"text": "The root of the checkout."}}},
                    "invocations": [_invocation(report)],
                    "results": [_write(result, rules[result.rule]) for result in results],
                    "properties": _facts(report),
                }
            ],
        }
        return pretty_json(log).decode()


def message(text: str) -> Json:
    """`text` as a plain text message: braces are doubled, brackets escaped (§3.11.5, §3.11.6)."""
    plain = visible(text).replace("{", "{{").replace("}", "}}")
    return {"text": plain.replace("[", "\\[").replace("]", "\\]")}


def _environment(report: DriftReport, drift: EnvironmentDrift) -> list[Result]:
    results = [_change(report, drift, change) for change in drift.changes]
    named = label(drift, report.purpose)
    untested = [(item.what, item.reason) for item in drift.not_tested]
    untested += [
        (f"golden {cell.path}", "; ".join(cell.reasons))
        for cell in drift.golden
        if cell.answer is Answer.NOT_TESTED and not any(cell.path in what for what, _ in untested)
    ]
    for what, reason in untested:
        results.append(
            Result(
                rule="not-tested",
                kind="open",
                level="none",
                text=f"{named}: not tested: {what}: {reason or 'no reason given'}",
                location=_elsewhere(report, drift),
                fingerprint=signature({"environment": named, "not tested": what}),
                properties={"environment": visible(drift.name), "candidate": visible(drift.candidate)},
            )
        )
    return results


def _change(report: DriftReport, drift: EnvironmentDrift, change: Change) -> Result:
    failing = fails(msgspec.structs.replace(change, waived_by=None), report.purpose)
    causes = [other.location for other in drift.changes if other.name in change.follows_from]
    before, after = change.before or "nothing", change.after or "nothing"
    text = f"{label(drift, report.purpose)}: {change.name} {change.kind.value}, {before} → {after}: {change.why}"
    if change.follows_from:
        text += f"; follows from {', '.join(change.follows_from)}"
    return Result(
        rule=f"{change.layer.value}/{change.kind.value}",
        kind="fail" if failing else "informational",
        level=_level(change) if failing else "none",
        text=text,
        location=_place(change.location) or _elsewhere(report, drift),
        fingerprint=change.fingerprint,
        related=tuple(place for place in map(_place, causes) if place is not None),
        suppressions=_suppressions(change, report.waivers),
        properties={
            "environment": visible(change.environment),
            "candidate": visible(drift.candidate),
            "path": visible(change.path),
            "severity": change.severity.value,
            "canMoveNumbers": change.can_move_numbers,
            "numbers": change.numbers.value if change.numbers else None,
            "evidence": [visible(each) for each in change.evidence],
            "followsFrom": [visible(each) for each in change.follows_from],
            "expires": list(change.expires),
            "expiredGoldens": [visible(each.golden) for each in drift.expired if each.group in change.expires],
        },
    )


def _level(change: Change) -> str:
    """How bad a failure is: a number that moved is one even where the rules give it no severity."""
    return "error" if change.severity in (Severity.CRITICAL, Severity.MAJOR) else "warning"


def _suppressions(change: Change, waivers: Sequence[WaiverOutcome]) -> tuple[Json, ...]:
    if change.waived_by is None:
        return ()
    words = [f"{each.reason} ({each.author}, until {each.expires})" for each in waivers if each.id == change.waived_by]
    justification = visible(f"waiver {change.waived_by}: {'; '.join(words)}")
    return ({"kind": "external", "status": "accepted", "justification": justification},)


def _waiver(report: DriftReport, waiver: WaiverOutcome) -> Result:
    return Result(
        rule=f"waiver/{waiver.state.value}",
        kind="fail",
        level="error",
        text=f"Waiver {waiver.id} of {waiver.author} does not hold: {waiver.state.value}, {waiver.detail}",
        location=_baseline_file(report, ".waivers.yaml"),
        fingerprint=signature({"waiver": waiver.id, "state": waiver.state.value}),
    )


def _rule(rule: str) -> Json:
    layer, _, kind = rule.partition("/")
    if rule == "not-tested":
        text = "Something could not be tested. That is never a pass."
    elif layer == "waiver":
        text = f"A waiver does not hold: {kind}."
    else:
        text = f"Layer {layer} of an environment: something {kind} since the baseline."
    name = "".join(word.capitalize() for word in rule.replace("/", "-").split("-"))
    return {"id": rule, "name": name, "shortDescription": {"text": text}, "help": {"text": _HELP}}


def _write(result: Result, rule_index: int) -> Json:
    written: Json = {
        "ruleId": result.rule,
        "ruleIndex": rule_index,
        "kind": result.kind,
        "level": result.level,
        "message": message(result.text),
        "locations": [result.location],
        "partialFingerprints": {FINGERPRINT: result.fingerprint},
    }
    if result.related:
        written["relatedLocations"] = list(result.related)
    if result.suppressions:
        written["suppressions"] = list(result.suppressions)
    if result.properties:
        written["properties"] = result.properties
    return written


def _invocation(report: DriftReport) -> Json:
    return {
        "executionSuccessful": True,  # a check that comes to no answer makes no report
        "exitCode": report.exit_code,
        "exitCodeDescription": visible(verdict(report)),
        "toolExecutionNotifications": [
            {"level": "warning", "message": message(_notice(report, drift, item))}
            for drift in report.environments
            for item in drift.not_tested
        ],
    }


def _notice(report: DriftReport, drift: EnvironmentDrift, item: NotTested) -> str:
    return f"{label(drift, report.purpose)}: not tested: {item.what}: {item.reason}"


def _facts(report: DriftReport) -> Json:
    return {
        "baseline": visible(report.baseline),
        "baselineDigest": report.baseline_digest,
        "rulesDigest": report.rules,
        "advice": visible(advice(report)),
        "unbaselined": [visible(name) for name in report.unbaselined],
        "answers": [
            {
                "name": visible(drift.name),
                "candidate": visible(drift.candidate),
                "environment": drift.environment.value,
                "numbers": drift.numbers.value,
                "notTested": [visible(item.what) for item in drift.not_tested],
                "unprobed": [visible(name) for name in drift.unprobed],
            }
            for drift in report.environments
        ],
    }


def _place(location: Location | None) -> Json | None:
    """A location in the checkout; null for a path that leads out of it."""
    if location is None:
        return None
    path = PurePosixPath(location.file)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        return None
    return _physical(str(path), location.line)


def _elsewhere(report: DriftReport, drift: EnvironmentDrift) -> Json:
    """Where a result is shown whose own place is not in the checkout."""
    if report.purpose is Purpose.REHEARSAL:
        return _physical(f"lockfiles/{drift.name.replace('/', '_')}/python.txt", 1)
    return _baseline_file(report, ".json")


def _baseline_file(report: DriftReport, suffix: str) -> Json:
    name = report.baseline.replace("/", "_")
    return _physical(f"{BASELINES.as_posix()}/{name}{suffix}", 1)


def _physical(file: str, line: int | None) -> Json:
    place: Json = {"artifactLocation": {"uri": quote(file), "uriBaseId": _ROOT}}
    if line is not None and line > 0:
        place["region"] = {"startLine": line}
    return {"physicalLocation": place}
