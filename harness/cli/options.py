"""What several commands share: the store, lists on the command line."""

from harness.errors import UsageError
from harness.store.store import Store


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
