"""The report as one page that needs nothing but itself: no script, no font, no picture from anywhere."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.release.formats.view import view
from harness.release.report import DriftReport

_LOADER = PackageLoader("harness.release")
_TEMPLATE = "drift.html.j2"


class HtmlFormat:
    """A page to keep or to print; light or dark as the reader likes."""

    name = "html"

    def render(self, report: DriftReport) -> str:
        """The page. Whatever the report's texts hold is escaped."""
        environment = Environment(
            loader=_LOADER, autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
        )
        return environment.get_template(_TEMPLATE).render(page=view(report))
