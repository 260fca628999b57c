"""What several commands share: the store, lists and ages on the command line, the options of a resumed run."""

import re
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import UsageError
from harness.runs.project import find_root
from harness.store.roots import note_checkout
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


_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def open_store() -> Store:
    """The user's store (`HARNESS_HOME`), which remembers the checkout that it is used from."""
    store = Store.default()
    note_checkout(store, find_root(Path.cwd()))
    return store


def parse_age(text: str, option: str) -> float:
    """`90d`, `12h`, `30m`, `2w` in seconds; `0` is no time at all. `option` is what an error calls it.

    Raises:
        UsageError: it is no such age.
    """
    if text == "0":
        return 0.0
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if match is None:
        raise UsageError(f"{option} is {text[:40]!r}, which is no age", hint="Write it as 90d, 12h, 30m or 2w.")
    return float(match[1]) * _SECONDS[match[2]]


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
