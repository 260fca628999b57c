import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.engines.owner import is_gone, owner_label

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

LABEL = "from harness.engines.owner import owner_label; print(owner_label(), flush=True); input()"


def test_a_process_that_lives_is_not_gone_until_it_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", LABEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    label = process.stdout.readline().strip()
    assert not is_gone(label)
    process.kill()
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT) is None:
        pass
    assert is_gone(label)  # a zombie has ended, though its id is not free yet
    process.communicate()
    assert is_gone(label)


def test_another_process_with_the_same_id_is_not_the_owner() -> None:
    namespace, pid, start, letters = owner_label().split(":")
    assert not is_gone(":".join([namespace, pid, start, letters]))
    assert is_gone(":".join([namespace, pid, str(int(start) - 1), letters]))


@pytest.mark.parametrize("label", ["", "nonsense", "other-namespace:1:1:abc", ":1::abc", "a:b:c:d"])
def test_what_cannot_be_known_is_not_taken_for_gone(label: str) -> None:
    assert not is_gone(label)


def test_two_labels_of_one_process_differ() -> None:
    assert owner_label() != owner_label()
