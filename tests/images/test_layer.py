import io
import tarfile
from collections.abc import Iterator

import pytest

from harness.errors import IntegrityError
from harness.images.content import Inline
from harness.images.layer import layer_chunks
from harness.images.tree import Directory, Entry, File, Symlink


def members(entries: list[tuple[str, Entry]]) -> dict[str, tarfile.TarInfo]:
    data = b"".join(layer_chunks(entries))
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return {member.name: member for member in archive}


def test_entries_keep_their_kind_mode_and_target() -> None:
    found = members([("a", Directory(0o1777)), ("a/x", File(0o755, Inline(b"12345"))), ("b", Symlink("a/x"))])
    assert list(found) == ["a", "a/x", "b"]
    assert (found["a"].isdir(), found["a"].mode) == (True, 0o1777)
    assert (found["a/x"].isreg(), found["a/x"].mode, found["a/x"].size) == (True, 0o755, 5)
    assert (found["b"].issym(), found["b"].linkname) == (True, "a/x")


def test_files_that_share_a_content_become_hard_links_to_the_first() -> None:
    shared = File(0o755, Inline(b"perl"))
    found = members([("a", shared), ("b", shared), ("c", File(0o755, Inline(b"perl")))])
    assert found["a"].isreg()
    assert (found["b"].islnk(), found["b"].linkname) == (True, "a")
    assert found["c"].isreg()


def test_a_large_layer_comes_in_pieces() -> None:
    chunks = list(layer_chunks([(str(number), File(0o644, Inline(bytes(300_000)))) for number in range(20)]))
    assert len(chunks) > 3
    assert sum(map(len, chunks)) % 512 == 0


class Liar:
    """A content that has fewer bytes than it says."""

    size = 10

    def chunks(self) -> Iterator[bytes]:
        yield b"short"


def test_a_content_of_another_size_than_its_header_is_refused() -> None:
    with pytest.raises(IntegrityError, match="/a has 5 bytes where its archive says 10"):
        list(layer_chunks([("a", File(0o644, Liar()))]))
