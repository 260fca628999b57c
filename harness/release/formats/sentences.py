"""What is said of a report, sentence by sentence: the verdict, the answers, what to do next."""

from harness.release.formats.fate import drift_fails, fails
from harness.release.formats.names import goldens, label
from harness.release.formats.text import count, listed, shown
from harness.release.report import NUMBERS, Answer, DriftReport, EnvironmentDrift, Layer, Purpose, WaiverState

FAILING_WAIVERS = frozenset({WaiverState.EXPIRED, WaiverState.UNMATCHED})


def verdict(report: DriftReport) -> str:
    """The report in one line."""
    purpose = report.purpose
    names = listed([shown(label(each, purpose)) for each in report.environments if drift_fails(each, purpose)])
    changed = any(drift.changes for drift in report.environments)
    if purpose is Purpose.REHEARSAL:
        return _verdict_of_rehearsal(report, names)
    broken = sum(waiver.state in FAILING_WAIVERS for waiver in report.waivers)
    broken_waivers = f"{count(broken, 'waiver')} {'does' if broken == 1 else 'do'} not hold"
    match report.exit_code:
        case 0:
            return "No drift that fails: every change is waived, or harmless by the rules." if changed else "No drift."
        case 1 if names and broken:
            return f"Drift in {names}, and {broken_waivers}."
        case 1 if broken:
            return f"No drift that is not waived, but {broken_waivers}."
        case 1:
            return f"Drift in {names}." if names else "Drift."
    return "Nothing failed, but not all was tested: this is not a pass."


def _verdict_of_rehearsal(report: DriftReport, names: str) -> str:
    match report.exit_code:
        case 0:
            return "No number would change." if report.environments else "Nothing would change."
        case 1:
            return f"Numbers would change in {names}."
    return "Whether numbers would change could not be told in full: this is no consent."


def advice(report: DriftReport) -> str:
    """What to do next, in one sentence."""
    if report.purpose is Purpose.REHEARSAL:
        return _advice_of_rehearsal(report)
    match report.exit_code:
        case 0:
            return "Nothing to do."
        case 1 if any(drift_fails(drift, report.purpose) for drift in report.environments):
            return "Undo each change that fails, waive it with a reason, or release a new baseline: see docs/drift.md."
        case 1:
            return "Renew or remove the waivers that do not hold: see docs/drift.md."
    return "Test what was not tested, on a machine that can, and check again: see docs/drift.md."


def _advice_of_rehearsal(report: DriftReport) -> str:
    match report.exit_code:
        case 0 if not report.environments:
            return "Nothing to decide."
        case 0:
            return "Nothing that was looked at speaks against it; what was looked at is above: see docs/drift.md."
        case 1:
            return "Decide whether these numbers may move before anything is merged: see docs/drift.md."
    return "Try what could not be tried, on a machine that can, before anything is merged: see docs/drift.md."


def environment_sentence(drift: EnvironmentDrift, purpose: Purpose) -> str:
    """Whether the environment changed."""
    rehearsed = purpose is Purpose.REHEARSAL
    match drift.environment:
        case Answer.UNCHANGED:
            return "The environment would not change." if rehearsed else "The environment did not change."
        case Answer.NOT_TESTED:
            return f"Whether the environment {'would change' if rehearsed else 'changed'} was not tested."
    changes = [change for change in drift.changes if change.layer not in NUMBERS and not change.follows_from]
    if rehearsed:
        return f"The environment would change: {count(len(changes), 'change')}."
    failing = sum(fails(change, purpose) for change in changes)
    waived = sum(change.waived_by is not None for change in changes)
    found = f"The environment changed: {count(len(changes), 'change')}, {failing:,} failing"
    return f"{found}, {waived:,} waived." if waived else f"{found}."


def numbers_sentence(drift: EnvironmentDrift, purpose: Purpose) -> str:
    """Whether the numbers changed, and what that rests on."""
    rehearsed = purpose is Purpose.REHEARSAL
    probe = f"the probe of {', '.join(shown(name) for name in drift.probed)}" if drift.probed else "probe"
    by = " and ".join(probe if test == "probe" else shown(test) for test in drift.tested_by)
    match drift.numbers:
        case Answer.UNCHANGED:
            said = "The numbers would not change" if rehearsed else "The numbers did not change"
            return f"{said} (tested by {by})." if by else f"{said}."
        case Answer.NOT_TESTED:
            return f"Whether the numbers {'would change' if rehearsed else 'changed'} was not tested."
    kernels = sum(change.layer is Layer.PROBE for change in drift.changes)
    cells = sum(cell.answer is Answer.CHANGED for cell in drift.golden)
    found = [count(kernels, "probe kernel")] if kernels else []
    if drift.golden:
        found.append(f"{cells:,} of {count(len(drift.golden), 'golden cell')}")
    return f"The numbers {'would change' if rehearsed else 'changed'}: {' and '.join(found) or 'see below'}."


def unprobed_sentence(drift: EnvironmentDrift) -> str:
    """What the probe does not look at, whatever it says of numbers; empty where that is nothing."""
    if not drift.unprobed:
        return ""
    return f"No probe looks at {listed([shown(name) for name in drift.unprobed])}: golden runs alone can."


def unbaselined_sentence(report: DriftReport) -> str:
    """The environments that the baseline lacks; empty where it has all."""
    if not report.unbaselined:
        return ""
    names = listed([shown(name) for name in report.unbaselined])
    return f"Nothing is said of {names}: the baseline does not have {'it' if len(report.unbaselined) == 1 else 'them'}."


def golden_sentence(drift: EnvironmentDrift) -> str:
    """How the golden cells came out; empty where none was looked at."""
    if not drift.golden:
        return ""
    found = [cell.answer for cell in drift.golden]
    counts = ", ".join(f"{found.count(answer):,} {answer.value}" for answer in Answer if answer in found)
    return f"{count(len(found), 'golden cell')}: {counts}."


def expired_sentence(drift: EnvironmentDrift, purpose: Purpose) -> str:
    """What can no longer be compared, and the goldens that it is of; empty where nothing expired."""
    if not drift.expired:
        return ""
    groups, one = count(len(drift.expired), "comparison group"), len(drift.expired) == 1
    stored = {run for group in drift.expired for run in group.stored_runs}
    name, candidate = shown(drift.name), shown(drift.candidate)
    if purpose is Purpose.REHEARSAL:
        ended, lost = f"{groups} would end", "could not be compared with what runs after the upgrade"
    elif drift.candidate != drift.name:
        ended = f"{groups} of the baseline's {name} {'does' if one else 'do'} not hold in {candidate}"
        lost = f"cannot be compared with what runs in {candidate}"
    else:
        ended, lost = f"{groups} of the baseline expired", f"cannot be compared with what runs in {name} from now on"
    none = f"no run stored here is in {'it' if one else 'them'}"
    runs = f"{count(len(stored), 'stored run')} {lost}" if stored else none
    return f"{ended}: {runs}. Golden: {goldens([group.golden for group in drift.expired], drift.known_golden)}."
