"""What a format is: a name, and the whole text of a report."""

from typing import Protocol

from harness.release.report import DriftReport


class Format(Protocol):
    """One way to write a report down. Whatever the report's texts hold, they stay texts."""

    @property
    def name(self) -> str:
        """What users call it (`--format json=drift.json`)."""
        ...

    def render(self, report: DriftReport) -> str:
        """The report, whole, with a newline at its end; the same text for the same report."""
        ...
