import hashlib
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.strict.seeds import MODULUS, normalize_seed, resolve_seed, seed_all

parts = st.none() | st.text(alphabet='ab|None0"[],', max_size=6)


def test_recipe_v1_gives_the_reference_pipelines_seed():
    assert resolve_seed(42, "training", target="fwd_ret_10m") == 1626722106


@given(st.integers(0, 2**40), st.text(), parts, st.none() | st.integers(0, 9), parts, parts)
def test_recipe_v1_is_the_reference_pipelines_for_any_parts(base, phase, target, fold, symbol, view):
    text = f"{base}|{phase}|{target}|{fold or 0}|{symbol}|{view}|v1"
    expected = int(hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8], 16) % MODULUS or 1
    assert resolve_seed(base, phase, target, fold, symbol, view) == expected


@pytest.mark.parametrize(
    "change", [{"base": 43}, {"phase": "b"}, {"target": "t"}, {"fold": 1}, {"symbol": "A"}, {"view": "V"}]
)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_part_counts(change, version):
    parts = {"base": 42, "phase": "a", "version": version}
    assert resolve_seed(**{**parts, **change}) != resolve_seed(**parts)


def test_parts_that_v1_takes_for_one_another_are_apart_in_v2():
    one, other = {"target": "a|0", "symbol": "b"}, {"target": "a", "symbol": "0|b"}
    assert resolve_seed(1, "p", **one) == resolve_seed(1, "p", **other)
    assert resolve_seed(1, "p", **one, version="v2") != resolve_seed(1, "p", **other, version="v2")


def test_v2_tells_nothing_from_none_and_zero_and_knows_trials():
    assert resolve_seed(1, "p", target="None", version="v2") != resolve_seed(1, "p", version="v2")
    assert resolve_seed(1, "p", fold=0, version="v2") != resolve_seed(1, "p", version="v2")
    assert resolve_seed(1, "p", trial=1, version="v2") != resolve_seed(1, "p", trial=2, version="v2")


def test_recipes_that_do_not_exist_and_trials_in_v1_are_refused():
    with pytest.raises(UsageError, match="v3"):
        resolve_seed(1, "p", version="v3")
    with pytest.raises(UsageError, match="trial"):
        resolve_seed(1, "p", trial=1)


@pytest.mark.parametrize(("seed", "normal"), [(0, 1), (1, 1), (42, 42), (MODULUS, 1), (MODULUS + 5, 5), (2**64, 4)])
def test_seeds_are_brought_into_the_range_of_every_library(seed, normal):
    assert normalize_seed(seed) == normal


@pytest.mark.parametrize("seed", [-1, True, False, 1.0, "42", None])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(UsageError, match="not a seed"):
        normalize_seed(seed)
    with pytest.raises(UsageError):
        seed_all(seed)


def test_seed_all_repeats_and_another_seed_does_not():
    numpy = pytest.importorskip("numpy")
    assert numpy.random is not None  # NumPy imports it when it is first asked for
    draws = []
    for seed in (7, 7, 8):
        seeded = seed_all(seed)
        draws.append((random.random(), numpy.random.rand()))
    assert draws[0] == draws[1] != draws[2]
    assert seeded[:2] == ["random", "numpy"]


def test_a_library_imported_later_gets_the_last_seed(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "torch.py").write_text(
        "from types import SimpleNamespace\nseeds = []\nmanual_seed = seeds.append\n"
        "backends = SimpleNamespace(cudnn=SimpleNamespace(benchmark=False))\n"
    )
    assert "torch" not in seed_all(7)
    seed_all(8)
    import torch

    assert torch.seeds == [8]
    assert "torch" in seed_all(9)
    assert torch.seeds == [8, 9]
    sys.modules.pop("torch")
