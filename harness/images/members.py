"""The members of a tar archive of others: none of its headers is believed."""

import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from harness.errors import IntegrityError
from harness.locking.bounded import Bounded

MAX_HEADER = 1 << 20
"""How many bytes the headers of one member may take: long names, extended headers, the holes of a sparse file."""
MAX_HEADERS = 512 << 20
"""How many bytes all headers may take: those of a million members."""

_DAMAGED = (
    tarfile.TarError, EOFError, OSError, ValueError,
    OverflowError,  # a position past what the system counts
    RecursionError,  # a header of a header of a header
)  # fmt: skip


def tar_members(file: BinaryIO, where: str) -> Iterator[tarfile.TarInfo]:
    """The members of an uncompressed tar archive, to its end mark; `where` says in errors what it is.

    Raises:
        IntegrityError: it is none, it is damaged, or its headers take more than those of any image.
    """
    try:
        yield from _members(file, where)
    except _DAMAGED as error:
        raise IntegrityError(f"{where} is no tar archive, or a damaged one: {error}") from error


def _members(file: BinaryIO, where: str) -> Iterator[tarfile.TarInfo]:
    headers = _Headers(file, MAX_HEADER)
    source = cast("Any", headers)
    archive: Any
    with tarfile.open(fileobj=source, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
        while (member := archive.next()) is not None:
            if member.size < 0:  # from here tarfile would walk backwards, and round
                raise IntegrityError(f"{where} is damaged: the member {member.name[:200]!a} has a negative size")
            yield member
            headers.one = 0
            archive.members.clear()  # whoever wants them keeps what of them is wanted
        # tarfile takes a damaged header for the end of the archive.
        file.seek(archive.offset)
        if any(file.read(tarfile.BLOCKSIZE)):
            raise IntegrityError(f"{where} is damaged: it ends in the middle of a header")


class _Headers(Bounded):
    """All that `tarfile` reads of an archive whose contents it is not asked for: it seeks over these.

    `one` counts the bytes of one member's headers.
    """

    one = 0
    _all = 0

    def read(self, size: int = -1) -> bytes:
        """As a file's.

        Raises:
            ValueError: the headers are too long.
        """
        data = super().read(size)
        self.one += len(data)
        self._all += len(data)
        if self.one > MAX_HEADER or self._all > MAX_HEADERS:
            raise ValueError(f"its headers take more than {MAX_HEADER} bytes each or {MAX_HEADERS} together")
        return data
