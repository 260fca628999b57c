"""Lightning on a GPU: two fits are equal in every tensor, and what cannot repeat raises."""

import importlib.util

import pytest

from tests.gpu.lightning_twins import KINDS, fit_twice
from tests.gpu.test_cuda import REASON

LIGHTNING = None if importlib.util.find_spec("lightning") else "Lightning is not installed here"
pytestmark = pytest.mark.skipif(bool(REASON or LIGHTNING), reason=REASON or LIGHTNING or "")


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    return fit_twice("cuda", tmp_path_factory.mktemp("output"))


@pytest.mark.parametrize("kind", KINDS)
def test_fits_of_two_processes_are_equal_in_every_tensor(fits, kind):
    assert fits[kind]["tensors"] > 20
    assert fits[kind]["differ"] == []


def test_a_fit_that_takes_an_operator_without_a_deterministic_form_raises(fits):
    assert "does not have a deterministic implementation" in fits["refusal"]
