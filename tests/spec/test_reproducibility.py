import pytest

from harness.errors import UsageError
from harness.spec.experiment import Reproducibility, StrictSettings
from harness.spec.reproducibility import resolve
from harness.spec.run import Mode

WRITTEN = Reproducibility(mode=Mode.BEST_EFFORT, seed=7, version="v2", strict=StrictSettings(require_env_vars=False))


def test_without_variables_what_is_written_holds_and_an_open_seed_is_the_base_seed():
    assert resolve(WRITTEN, {"HOME": "/"}) == WRITTEN
    assert resolve(Reproducibility(), {}).seed == 42


def test_each_variable_beats_the_file_and_nothing_else_changes():
    resolved = resolve(WRITTEN, {"REPRO_MODE": "strict", "REPRO_SEED": "0", "REPRO_VERSION": "v1"})
    assert (resolved.mode, resolved.seed, resolved.version) == (Mode.STRICT, 0, "v1")
    assert resolved.strict == WRITTEN.strict


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REPRO_MODE", "STRICT"),
        ("REPRO_MODE", ""),
        ("REPRO_SEED", "-1"),
        ("REPRO_SEED", " 1"),
        ("REPRO_SEED", "1e3"),
        ("REPRO_SEED", "²"),
        ("REPRO_VERSION", "v0"),
    ],
)
def test_a_value_that_means_nothing_is_refused_by_the_variables_name(name, value):
    with pytest.raises(UsageError, match=name):
        resolve(WRITTEN, {name: value})
