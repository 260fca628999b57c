"""The report as JSON, exactly as it is: what machines read (`docs/schemas/drift.json`)."""

from harness.record.jsonfile import pretty_json
from harness.release.report import DriftReport


class JsonFormat:
    """Pretty JSON: two spaces a level, keys sorted, nothing shortened."""

    name = "json"

    def render(self, report: DriftReport) -> str:
        """The exact document."""
        return pretty_json(report).decode()
