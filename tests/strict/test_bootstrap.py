import pytest

from harness.errors import IntegrityError, UsageError
from harness.spec.variables import HASH_SEED
from harness.strict import bootstrap
from harness.strict.bootstrap import NUMERIC_LIBRARIES, check, is_strict_mode

STRICT = {"REPRO_MODE": "strict", "PYTHONHASHSEED": "42"}


@pytest.mark.parametrize("library", NUMERIC_LIBRARIES)
def test_a_numeric_library_that_came_first_is_refused_by_name(library):
    with pytest.raises(IntegrityError, match=library):
        check(STRICT, {library, "os"})
    check({**STRICT, "REPRO_MODE": "best_effort"}, {library})
    check({}, {library})


@pytest.mark.parametrize("seed", [None, "random", "7", ""])
def test_a_hash_seed_that_is_not_the_tables_is_refused(seed):
    environ = {name: value for name, value in {**STRICT, "PYTHONHASHSEED": seed}.items() if value is not None}
    with pytest.raises(IntegrityError, match="PYTHONHASHSEED"):
        check(environ, set())
    check(STRICT, {"os", "random"})
    assert bootstrap._HASH_SEED == HASH_SEED


def test_an_unknown_mode_is_refused_and_none_means_best_effort():
    with pytest.raises(UsageError, match="REPRO_MODE is 'Strict'"):
        is_strict_mode({"REPRO_MODE": "Strict"})
    assert not is_strict_mode({})
    assert is_strict_mode(STRICT)


@pytest.fixture
def without_hook(variables):
    def chosen(**changes):
        environment = variables(**changes)
        return {**environment, "PYTHONPATH": environment["PYTHONPATH"].partition(":")[2]}

    return chosen


def test_seeds_cannot_be_imported_after_a_numeric_library_in_a_strict_process(tmp_path, start, without_hook):
    (tmp_path / "numpy.py").write_text("")
    late = start(["-c", "import numpy, harness.strict.seeds"], without_hook(), tmp_path)
    assert late.returncode != 0
    assert "numpy was imported before" in late.stderr
    in_time = start(["-c", "import harness.strict.bootstrap, numpy, harness.strict.seeds"], without_hook(), tmp_path)
    assert in_time.returncode == 0, in_time.stderr
    free = start(["-c", "import numpy, harness.strict.seeds"], without_hook(mode="best_effort"), tmp_path)
    assert free.returncode == 0, free.stderr


def test_a_hash_seed_set_by_the_program_itself_comes_too_late(tmp_path, start, without_hook):
    code = "import os; os.environ['PYTHONHASHSEED'] = '42'; import harness.strict.bootstrap"
    for before in (None, "7"):
        late = start(["-c", code], without_hook(PYTHONHASHSEED=before), tmp_path)
        assert late.returncode != 0
        assert "after Python had started" in late.stderr
