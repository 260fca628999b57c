"""Two runs that began at known times."""

from datetime import UTC, datetime, timedelta

import pytest

from harness.record.explain.cause import Facts, Pair

BEGUN = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)
LATER = BEGUN + timedelta(days=2, minutes=7)
SECONDS = 20.0


@pytest.fixture
def facts() -> Pair:
    return Facts(begun=BEGUN, seconds=SECONDS), Facts(begun=LATER, seconds=SECONDS)
