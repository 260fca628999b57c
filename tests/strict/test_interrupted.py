"""A training that is killed at any moment and goes on ends with the bits of one that was not."""

import json
import secrets
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

LIBRARIES = ["torch", "lightgbm", "xgboost"]
PROCESSES = ["pool", "futures"]
KILLED = str(Path(__file__).with_name("interrupted.py"))


@pytest.fixture
def interrupted(start, variables, tmp_path):
    """Run `interrupted.py` strictly with a new seed, which a failing test shows; what it printed."""

    def run(kind: str, *mode: str) -> dict:
        if kind in LIBRARIES and find_spec(kind) is None:
            pytest.skip(f"{kind} is not installed")
        seed = secrets.token_hex(4)
        # Processes are seeded by the hook, which leaves that to the trainer.
        hook = {"HARNESS_HOOK": "trainer"} if kind in LIBRARIES else {}
        completed = start([KILLED, kind, str(tmp_path), seed, *mode], variables(**hook), tmp_path)
        sys.stderr.write(f"the kills' seed is {seed}\n")
        assert completed.returncode == 0, completed.stderr
        return json.loads(completed.stdout)

    return run


@pytest.mark.parametrize("kind", [*LIBRARIES, *PROCESSES])
def test_twenty_kills_and_resumptions_change_no_bit(interrupted, kind: str) -> None:
    found = interrupted(kind)
    assert len(found["kills"]) == 20
    assert found["resumed"] == found["whole"]


@pytest.mark.parametrize("kind", [*LIBRARIES, *PROCESSES])
def test_without_random_states_or_the_trees_so_far_a_resumed_training_differs(interrupted, kind: str) -> None:
    found = interrupted(kind, "forgetful")
    assert len(found["kills"]) == 20
    assert found["resumed"] != found["whole"]
