import pytest

from harness.errors import IntegrityError, UsageError
from harness.spec.run import Mode
from harness.strict.settings import load_reproducibility_config


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in ("REPRO_MODE", "REPRO_SEED", "REPRO_VERSION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "reproducibility.yaml"
    path.write_text("reproducibility: {mode: best_effort, seed: 7, version: v2, strict: {require_env_vars: false}}\n")
    return path


def test_the_packages_own_settings_are_strict_with_the_base_seed():
    settings = load_reproducibility_config()
    assert (settings.mode, settings.seed, settings.version) == (Mode.STRICT, 42, "v1")
    assert settings.strict.require_env_vars


def test_a_file_is_read_and_the_environment_beats_it(document, monkeypatch):
    settings = load_reproducibility_config(document)
    assert (settings.mode, settings.seed, settings.version) == (Mode.BEST_EFFORT, 7, "v2")
    monkeypatch.setenv("REPRO_SEED", "0")
    monkeypatch.setenv("REPRO_VERSION", "v1")
    settings = load_reproducibility_config(document)
    assert (settings.mode, settings.seed, settings.version) == (Mode.BEST_EFFORT, 0, "v1")


@pytest.mark.parametrize(
    ("name", "value"),
    [("REPRO_SEED", "-1"), ("REPRO_SEED", "1.5"), ("REPRO_SEED", ""), ("REPRO_SEED", "٣"), ("REPRO_MODE", "Strict"),
     ("REPRO_VERSION", "v3")],
)  # fmt: skip
def test_a_variable_that_means_nothing_is_refused_by_name(name, value, document, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name):
        load_reproducibility_config(document)


def test_an_unknown_key_is_refused_by_name(document):
    document.write_text("reproducibility: {sede: 7}\n")
    with pytest.raises(UsageError, match="sede"):
        load_reproducibility_config(document)


def test_a_strict_process_without_its_variables_is_refused_where_they_are_required(document, monkeypatch, variables):
    for name, value in variables().items():
        if name != "PYTHONPATH":
            monkeypatch.setenv(name, value)
    assert load_reproducibility_config().mode is Mode.STRICT
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    with pytest.raises(IntegrityError, match="OMP_NUM_THREADS is '8'"):
        load_reproducibility_config()
    assert load_reproducibility_config(document).seed == 42
