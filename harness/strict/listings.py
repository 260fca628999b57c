"""Folders are listed in the order of names, not in that of the disk. Standard library only.

A file system lists what is in a folder by hashes or by age, so that the same project lists differently in two places.
`os.listdir` and `os.scandir` are sorted here, and with them `os.walk`, `glob`, `pathlib` and `shutil`, which ask them.
What native code lists, and what a program that is not Python lists, keeps the disk's order.
"""

import functools
from collections.abc import Iterator
from operator import attrgetter
from types import TracebackType
from typing import Any, Self

from harness.strict.replacing import replace


class Listing:
    """What `os.scandir` returns: an iterator of its entries and a context manager, in the order of their names."""

    def __init__(self, found: Any) -> None:
        with found:
            self._entries: Iterator[Any] = iter(sorted(found, key=attrgetter("name")))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave out what was not asked for yet, as the original does."""
        self._entries = iter(())


def sort_listings(os: Any) -> None:
    """Sort what `os.listdir` and `os.scandir` answer; names, bytes, descriptors and errors stay as they are."""
    listdir, scandir = os.listdir, os.scandir

    @functools.wraps(listdir)
    def sorted_listdir(*arguments: Any, **keywords: Any) -> list[Any]:
        return sorted(listdir(*arguments, **keywords))

    @functools.wraps(scandir)
    def sorted_scandir(*arguments: Any, **keywords: Any) -> Listing:
        return Listing(scandir(*arguments, **keywords))

    replace(os, "listdir", sorted_listdir)
    replace(os, "scandir", sorted_scandir)
    # shutil.rmtree looks its functions up here, and is open to attack where it does not find them.
    os.supports_fd.update((sorted_listdir, sorted_scandir))
