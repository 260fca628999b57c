"""What becomes of a change in a report: whether it makes it red, and in which words."""

from harness.release.formats.text import listed, shown
from harness.release.report import NUMBERS, Answer, Change, EnvironmentDrift, Purpose, Severity
from harness.release.waivers import needs_waiver


def fails(change: Change, purpose: Purpose) -> bool:
    """Whether it makes the report red. In a rehearsal changes of the environment are the point: only numbers do."""
    return change.layer in NUMBERS if purpose is Purpose.REHEARSAL else needs_waiver(change)


def drift_fails(drift: EnvironmentDrift, purpose: Purpose) -> bool:
    """Whether an environment makes the report red: numbers that changed do, though no change should name them."""
    unexplained = drift.numbers is Answer.CHANGED and not any(change.layer in NUMBERS for change in drift.changes)
    return unexplained or any(fails(change, purpose) for change in drift.changes)


def fate(change: Change, purpose: Purpose, *, most: int = 3) -> str:
    """What becomes of it, in words that name no more than `most` causes."""
    if change.waived_by is not None:
        return f"waived by {shown(change.waived_by)}"
    if fails(change, purpose):
        return "to be decided on" if purpose is Purpose.REHEARSAL else "fails"
    if change.follows_from:
        return f"follows from {causes(change, most)}"
    expected = purpose is Purpose.REHEARSAL and change.severity is not Severity.NONE
    return "comes with the upgrade" if expected else "reported"


def causes(change: Change, most: int = 3) -> str:
    """What it follows from."""
    return listed([shown(name) for name in change.follows_from], most)
