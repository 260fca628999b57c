"""A file that knows the digest of what is written to it."""

import hashlib
from pathlib import Path
from typing import BinaryIO

from harness.spec.digest import Digest, digest_from_hex


class ObjectWriter:
    """Writes to `file` and hashes on the way; also a file object for libraries that want one to write to."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def path(self) -> Path:
        """Where the file lies while it is written."""
        return Path(self._file.name)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of `data`; how many bytes that was."""
        view = memoryview(data).cast("B")
        self._file.write(view)
        self._hash.update(view)
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        """How many bytes were written, as `tarfile` asks."""
        return self.size

    def flush(self) -> None:
        """Pass on what is buffered, as `zipfile` asks."""
        self._file.flush()

    @property
    def digest(self) -> Digest:
        """The digest of what was written so far."""
        return digest_from_hex(self._hash.hexdigest())
