"""What several commands share: the store, lists on the command line, the options of a resumed run."""

from typing import Annotated

import typer

from harness.errors import UsageError
from harness.store.store import Store

ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the newest interrupted attempt of this very run, if there is one.")
]
ResumeRunOption = Annotated[
    str | None, typer.Option("--resume-run", help="Go on with the interrupted attempt of the run of that name.")
]
ResumeBeforeOption = Annotated[
    int | None,
    typer.Option("--resume-before", min=1, help="Go on from before this step: where a later checkpoint is damaged."),
]


def open_store() -> Store:
    """The user's store (`HARNESS_HOME`)."""
    return Store.default()


def split(text: str | None) -> tuple[str, ...] | None:
    """`a,b` as a tuple; null stays null.

    Raises:
        UsageError: a part is empty.
    """
    if text is None:
        return None
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise UsageError(f"{text!r} has an empty part", hint="Separate names by single commas: AAPL,JPM.")
    return parts
