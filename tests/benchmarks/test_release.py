from collections import Counter

from benchmarks.release import large_lock
from harness.locking.difference import ChangeKind, python_difference
from harness.locking.python import encode_python_lock, read_python_lock


def test_the_large_locks_are_valid_and_differ_in_versions_and_in_bytes(tmp_path) -> None:
    old, new = (large_lock(42, release=number) for number in range(2))
    path = tmp_path / "python.txt"
    path.write_bytes(encode_python_lock(old))
    assert read_python_lock(path) == old
    kinds = Counter(change.kind for change in python_difference("lock", old, new))
    assert kinds == {ChangeKind.UPGRADED: 14, ChangeKind.REBUILT: 4}
