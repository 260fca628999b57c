from typing import Any

import pytest

from harness.engines.delivery import follow_pull
from harness.errors import ToolError
from harness.locking.imagelock import LayerLock
from harness.spec.digest import digest_from_hex

LAYERS = (LayerLock("a", digest_from_hex("a" * 64), 1000), LayerLock("b", digest_from_hex("b" * 64), 500))
A, B = "a" * 12, "b" * 12


class Bar:
    def __init__(self) -> None:
        self.steps: list[float] = []

    def advance(self, amount: float = 1) -> None:
        self.steps.append(amount)

    def total(self, total: float) -> None:
        raise AssertionError(total)


def follow(*events: dict[str, Any]) -> Bar:
    bar = Bar()
    follow_pull(events, LAYERS, bar, name="cpu")
    return bar


def event(layer: str, status: str, current: int | None = None) -> dict[str, Any]:
    return {"id": layer, "status": status, "progressDetail": {} if current is None else {"current": current}}


def test_a_layer_counts_half_when_come_and_half_when_unpacked() -> None:
    bar = follow(event(A, "Downloading", 500), event(A, "Download complete"), event(A, "Extracting", 400))
    assert bar.steps[:3] == [250, 250, 200]


def test_a_layer_that_is_there_already_counts_at_once() -> None:
    assert follow(event(B, "Already exists")).steps[0] == 500


def test_the_bar_ends_full_and_never_goes_back() -> None:
    bar = follow(
        event(A, "Pulling fs layer"), event(A, "Downloading", 9999), event(A, "Downloading", 10),
        event(A, "Pull complete"), {"status": "Digest: sha256:…"}, event("other", "Downloading", 5),
    )  # fmt: skip
    assert min(bar.steps) >= 0
    assert sum(bar.steps) == 1500


def test_an_error_inside_the_stream_is_an_error() -> None:
    with pytest.raises(ToolError, match="could not take image cpu: no space left on device"):
        follow(event(A, "Downloading", 1), {"error": "no space\nleft on device"})
