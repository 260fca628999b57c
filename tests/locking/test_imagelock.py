"""An image's lock has one form, wherever it was kept meanwhile."""

import json
from pathlib import Path

import msgspec
import pytest

from harness.errors import IntegrityError
from harness.locking.imagelock import SCHEMA, ImageLock
from harness.locking.lockfile import encode_lock, read_lock
from harness.record.hashing import digest_of
from harness.record.jsonfile import pretty_json

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["cpu", "cpu-prev"])
def committed(request) -> Path:
    return ROOT / "lockfiles" / request.param / "image.lock"


def test_a_lock_that_was_kept_in_another_order_has_the_same_bytes(committed):
    lock = read_lock(committed, ImageLock, schema=SCHEMA)
    kept = msgspec.json.decode(pretty_json(lock), type=ImageLock)
    backwards = msgspec.structs.replace(lock, inputs=dict(reversed(lock.inputs.items())))
    assert encode_lock(kept) == encode_lock(backwards) == committed.read_bytes()


def test_a_lock_of_other_content_has_other_bytes(committed):
    lock = read_lock(committed, ImageLock, schema=SCHEMA)
    for inputs in ({**lock.inputs, "spec": digest_of(b"")}, {**lock.inputs, "another": digest_of(b"")}, {}):
        assert encode_lock(msgspec.structs.replace(lock, inputs=inputs)) != committed.read_bytes()


def test_inputs_that_have_no_place_of_their_own_come_last_by_name(committed):
    lock = read_lock(committed, ImageLock, schema=SCHEMA)
    more = msgspec.structs.replace(lock, inputs={"b": digest_of(b""), "a": digest_of(b""), **lock.inputs})
    assert list(more.inputs) == ["spec", "debian.lock", "python.txt", "variables", "a", "b"]


def test_a_lock_file_in_another_order_was_written_by_hand(committed, tmp_path):
    document = json.loads(committed.read_bytes())
    document["inputs"] = dict(reversed(document["inputs"].items()))
    path = tmp_path / "image.lock"
    path.write_text(json.dumps(document, indent=2) + "\n")
    with pytest.raises(IntegrityError, match="by hand"):
        read_lock(path, ImageLock, schema=SCHEMA)
