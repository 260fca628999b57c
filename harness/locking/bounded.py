"""Files for readers of archives that believe what headers say of their own length."""

from typing import BinaryIO


class Bounded:
    """An open file for a reader of archives that believes their headers: no single read may be of more than `limit`.

    Otherwise a header that says it is a few gigabytes long, of zeros that cost nothing, would be read into memory.
    """

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._limit = limit
        self.fileno = file.fileno
        self.seek = file.seek
        self.seekable = file.seekable
        self.tell = file.tell
        self.close = file.close

    def read(self, size: int = -1) -> bytes:
        """As a file's.

        Raises:
            ValueError: that would be more than the limit.
        """
        data = self._file.read(self._limit + 1 if size < 0 else min(size, self._limit + 1))
        if len(data) > self._limit:
            raise ValueError(f"its headers take more than {self._limit} bytes")
        return data
