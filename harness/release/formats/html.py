"""The report as one page that needs nothing but itself: no script, no font, no picture from anywhere."""

from harness.release.formats.view import view
from harness.release.report import DriftReport


class HtmlFormat:
    """A page to keep or to print; light or dark as the reader likes."""

    name = "html"

    def render(self, report: DriftReport) -> str:
        """The page. Whatever the report's texts hold is escaped."""
        from jinja2 import Environment, PackageLoader, StrictUndefined  # a tenth of a second that no table need wait

        templates = Environment(
            loader=PackageLoader("harness.release"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return templates.get_template("drift.html.j2").render(page=view(report)) + "\n"
