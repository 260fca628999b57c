import importlib.util
import json

import pytest

from harness.errors import UsageError
from harness.spec.variables import thread_counts
from harness.strict.hook import base_seed

numpy_only = pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="NumPy is not installed here")
torch_only = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")

DRAW = """
import random, tempfile
print(random.random(), random.Random().random(), random.Random().random(), {"a", "b", "c"})
"""


def test_a_script_that_seeds_nothing_repeats_and_another_seed_changes_it(script):
    first, second, other = script(DRAW), script(DRAW), script(DRAW, seed=7)
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert first.stdout == second.stdout != other.stdout
    one, another = first.stdout.split()[1:3]
    assert one != another


def test_best_effort_seeds_and_leaves_unseeded_generators_free(script):
    first, second = (script(DRAW, mode="best_effort").stdout.split() for _ in range(2))
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_without_a_mode_the_hook_does_nothing(script):
    first, second = (script(DRAW, REPRO_MODE=None).stdout.split() for _ in range(2))
    assert first[0] != second[0]


def test_a_strict_process_without_a_hash_seed_stops_with_code_4(script):
    ended = script(DRAW, PYTHONHASHSEED=None)
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "PYTHONHASHSEED is not set" in ended.stderr


@pytest.mark.parametrize(("name", "value"), [("REPRO_MODE", "strictly"), ("REPRO_SEED", "x")])
def test_a_setting_that_means_nothing_stops_the_process(script, name, value):
    ended = script(DRAW, **{name: value})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert name in ended.stderr


@pytest.mark.parametrize("text", ["-1", "1e3", "", "²"])
def test_a_base_seed_that_is_no_whole_number_is_refused(text):
    with pytest.raises(UsageError, match="REPRO_SEED"):
        base_seed({"REPRO_SEED": text})
    assert (base_seed({}), base_seed({"REPRO_SEED": "0"})) == (42, 1)


def test_temporary_names_and_secrets_stay_free(script):
    code = (
        "import os, secrets, tempfile, uuid\nprint(tempfile.mktemp(), secrets.token_hex(), uuid.uuid4(), os.urandom(4))"
    )
    first, second = script(code).stdout.split(), script(code).stdout.split()
    assert all(one != another for one, another in zip(first, second, strict=True))


def test_a_users_own_package_called_harness_is_the_users(script, tmp_path):
    own = tmp_path / "work" / "harness"
    own.mkdir(parents=True)
    (own / "__init__.py").write_text("whose = 'mine'\n")
    ended = script("import harness, harness.__init__\nprint(harness.whose)", HARNESS_OUTPUT=str(tmp_path))
    assert (ended.stdout, ended.stderr) == ("mine\n", "")


def test_the_environments_own_sitecustomize_still_runs(script, variables, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.theirs = 1\n")
    path = f"{variables()['PYTHONPATH']}:{tmp_path}"
    ended = script("print(theirs)", PYTHONPATH=path)
    assert (ended.stdout, ended.stderr) == ("1\n", "")


def test_a_sitecustomize_that_loads_numpy_is_found_out(script, variables, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import numpy\n")
    (tmp_path / "numpy.py").write_text("")
    ended = script("print('ran')", PYTHONPATH=f"{variables()['PYTHONPATH']}:{tmp_path}")
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "numpy was imported before" in ended.stderr


CHILDREN = """
import multiprocessing, random, sys
from concurrent.futures import ProcessPoolExecutor

def draw(queue):
    queue.put((multiprocessing.current_process()._identity, random.random(), random.Random().random()))

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1] if sys.argv[1:] else METHOD)
    queue = context.Queue()
    children = [context.Process(target=draw, args=(queue,)) for _ in range(2)]
    for child in children: child.start()
    drawn = sorted(queue.get() for _ in children)
    for child in children: child.join()
    print([random.random(), *[numbers for _, *numbers in drawn]])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_repeat_and_do_not_draw_what_others_draw(script, method):
    code = CHILDREN.replace("METHOD", repr(method))
    first, second = script(code), script(code)
    assert first.stderr == ""
    assert first.stdout == second.stdout
    parent, one, other = json.loads(first.stdout)
    assert len({parent, *one, *other}) == 5


@numpy_only
def test_numpy_repeats_seeded_or_not_and_its_sequence_moves_on(script):
    code = (
        "import numpy as np\n"
        "print(np.random.rand(), np.random.default_rng().random(), np.random.default_rng().random(), "
        "np.random.RandomState().rand(), np.random.SeedSequence().entropy, np.random.default_rng(3).random())"
    )
    first, second, other = script(code), script(code), script(code, seed=7)
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    numbers, others = first.stdout.split(), other.stdout.split()
    assert len(set(numbers)) == 6
    assert [one == another for one, another in zip(numbers, others, strict=True)] == [False] * 5 + [True]
    free = [script(code, mode="best_effort").stdout.split() for _ in range(2)]
    assert free[0][0] == free[1][0]
    assert free[0][1] != free[1][1]


@numpy_only
def test_a_thread_setting_that_did_not_take_effect_stops_the_program(script):
    pytest.importorskip("threadpoolctl")
    ended = script("import numpy\nprint('ran')", OPENBLAS_NUM_THREADS="2", REPRO_THREADS="1")
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "numpy's openblas is 2, not 1: OPENBLAS_NUM_THREADS" in ended.stderr


@numpy_only
@pytest.mark.parametrize("off", [{"REPRO_MODE": "best_effort"}, {"REPRO_THREADS": "2"}, {"HARNESS_OUTPUT": "/nowhere"}])
def test_a_program_cannot_switch_its_own_check_off_by_its_variables(script, tmp_path, off):
    pytest.importorskip("threadpoolctl")
    # putenv goes past os.environ, which keeps the number of threads
    code = f"import os\nos.environ.update({off!r})\nos.putenv('OPENBLAS_NUM_THREADS', '2')\nimport numpy\nprint('ran')"
    ended = script(code, HARNESS_OUTPUT=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "numpy's openblas is 2, not 1" in (tmp_path / "refused.txt").read_text()


def test_a_programs_own_exit_code_4_and_a_wrong_setting_leave_no_word_of_a_refusal(script, tmp_path):
    assert script("import sys; sys.exit(4)", HARNESS_OUTPUT=str(tmp_path)).returncode == 4
    assert script("", HARNESS_OUTPUT=str(tmp_path), REPRO_SEED="x").returncode == 2
    assert [*tmp_path.glob("refused*")] == []
    assert script("", HARNESS_OUTPUT=str(tmp_path), PYTHONHASHSEED="7").returncode == 4
    assert "PYTHONHASHSEED is '7', not '42'" in (tmp_path / "refused.txt").read_text()


@numpy_only
def test_threads_that_a_program_set_after_the_import_are_found_when_it_ends(script, tmp_path):
    pytest.importorskip("threadpoolctl")
    pool = "next(one for one in threadpoolctl.ThreadpoolController().lib_controllers if one.user_api == 'blas')"
    put = f"import numpy, threadpoolctl\nput = {pool}._get_symbol('openblas_set_num_threads')\n"
    code = f"{put}put(2)\nprint('ran')"
    left = script(code, HARNESS_OUTPUT=str(tmp_path))
    assert (left.returncode, left.stdout) == (4, "ran\n")
    assert "openblas is 2, not 1" in (tmp_path / "refused.txt").read_text()
    (tmp_path / "refused.txt").unlink()
    restored = script(f"{code}\nput(1)", HARNESS_OUTPUT=str(tmp_path))
    assert (restored.returncode, restored.stderr) == (0, "")
    assert script(code, mode="best_effort", HARNESS_OUTPUT=str(tmp_path)).returncode == 0
    assert not (tmp_path / "refused.txt").exists()


@numpy_only
def test_threadpoolctl_gives_no_more_threads_than_the_run_has_for_any_time(script, tmp_path):
    pytest.importorskip("threadpoolctl")
    code = (
        "import numpy, threadpoolctl as t\n"
        "def show():\n    print(max(p['num_threads'] for p in t.threadpool_info() if p['user_api'] == 'blas'))\n"
        "with t.threadpool_limits(3):\n    show()\n"
        "with t.ThreadpoolController().limit(limits=3):\n    show()\n"
        "with t.threadpool_limits(1):\n    show()\n"
        "show()"
    )
    one = script(code, HARNESS_OUTPUT=str(tmp_path))
    said = "harness: strict: threadpoolctl's number of threads stays 1, not 3\n"
    assert (one.returncode, one.stdout.split(), one.stderr) == (0, ["1"] * 4, said)
    free = script(code, mode="best_effort", HARNESS_OUTPUT=str(tmp_path))
    assert (free.returncode, free.stderr) == (0, "")
    assert free.stdout.split()[:3] == ["3", "3", "1"]
    counts = dict.fromkeys(sorted(thread_counts()), "2")
    two = script(code, HARNESS_OUTPUT=str(tmp_path), REPRO_THREADS="2", **counts)
    assert (two.returncode, two.stdout.split()) == (0, ["2", "2", "1", "2"]), two.stderr
    assert two.stderr == said.replace("stays 1", "stays 2")


@numpy_only
@pytest.mark.parametrize("set_them", ["os.environ[name] = '4'", "os.environ.update({name: '4'})"])
def test_a_scripts_own_thread_variables_stay_those_of_the_run(script, tmp_path, set_them):
    code = (
        "import os\nfor name in (f'{of}_NUM_THREADS' for of in ('OMP', 'MKL', 'OPENBLAS', 'NUMEXPR')):\n"
        f"    {set_them}\n    os.environ.setdefault(name, '4')\n    print(os.environ[name])\nimport numpy"
    )
    strict, free = script(code, HARNESS_OUTPUT=str(tmp_path)), script(code, mode="best_effort")
    assert (strict.returncode, strict.stdout.split()) == (0, ["1"] * 4), strict.stderr
    assert strict.stderr.splitlines() == [
        f"harness: strict: {name}_NUM_THREADS stays 1, not 4" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
    ]
    assert (free.returncode, free.stdout.split(), free.stderr) == (0, ["4"] * 4, "")


@numpy_only
def test_a_loaded_library_is_noted_even_where_the_process_ends_without_recording_it(script, tmp_path):
    script("import numpy, os\nos._exit(0)", HARNESS_OUTPUT=str(tmp_path))
    assert [path.name for path in tmp_path.glob("loaded-*")] == ["loaded-numpy"]
    assert not (tmp_path / "environment.json").exists()


THREADS = {
    "lightgbm": "import lightgbm as l; l.LGBMRegressor(n_estimators=2, n_jobs=4, verbose=-1).fit(x, y)",
    "xgboost": "import xgboost as g; g.XGBRegressor(n_estimators=2, n_jobs=4).fit(x, y)",
    "sklearn": (
        "from sklearn.ensemble import HistGradientBoostingRegressor as H; H(max_iter=2).fit(x, y)\n"
        "from sklearn.cluster import KMeans; KMeans(2, n_init=1).fit(x)"
    ),
}


@pytest.mark.parametrize("library", THREADS)
def test_models_that_ask_for_threads_do_not_end_as_a_refusal(script, tmp_path, library):
    pytest.importorskip(library)
    code = f"import numpy as np\nx = np.random.rand(200, 3); y = x.sum(axis=1)\n{THREADS[library]}"
    ended = script(code, HARNESS_OUTPUT=str(tmp_path))
    assert ended.returncode == 0, ended.stderr


@numpy_only
def test_numpy_beyond_the_profiles_cap_stops_the_program(script):
    import numpy

    from harness.strict.dispatch import numpy_features

    beyond = [name for name in numpy_features() if name.startswith(("X86_V4", "AVX512"))]
    if not beyond:
        pytest.skip("this CPU has nothing beyond AVX2")
    # Each release takes the other's names for unknown ones, and ignores them.
    other = "AVX512F" if "X86_V4" in beyond else "X86_V4"
    ended = script("import numpy", profile="x86-64-v3", NPY_DISABLE_CPU_FEATURES=other)
    assert ended.returncode == 4
    assert beyond[0] in ended.stderr, numpy.__version__
    assert script("import numpy", profile="x86-64-v3").returncode == 0


FOREST = """
import numpy as np
from sklearn.ensemble import RandomForestRegressor
features = np.random.rand(2000, 4)
target = np.exp(6 * np.random.randn(2000))
model = RandomForestRegressor(n_estimators=40, n_jobs=2, max_depth=6).fit(features, target)
print(len({model.predict(features).tobytes() for _ in range(20)}), hash(model.predict(features).tobytes()))
"""


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed here")
def test_a_forest_that_asks_for_threads_repeats_and_is_told(script):
    first, second = script(FOREST), script(FOREST)
    assert first.stdout.split()[0] == "1"
    assert first.stdout == second.stdout
    assert first.stderr == "harness: strict: joblib runs 1 job at a time in threads, not 2\n"


TORCH = """
import torch
torch.use_deterministic_algorithms(True, warn_only=True)
torch.use_deterministic_algorithms(False)
print(torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
print(torch.backends.cudnn.benchmark, torch.utils.deterministic.fill_uninitialized_memory)
print(torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(SEED))))
torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
print("ran what does not repeat")
"""


@torch_only
def test_torch_is_seeded_and_stays_deterministic_whoever_asks_otherwise(script):
    strict = script(TORCH.replace("SEED", "42"))
    assert strict.stdout.split("\n") == ["True False", "False False", "True", ""]
    assert strict.returncode == 1
    assert "does not have a deterministic implementation" in strict.stderr
    assert strict.stderr.count("stays True") == 2


@torch_only
def test_a_torch_that_cannot_be_given_kernels_is_refused_in_the_profile_that_needs_them(script, variables, tmp_path):
    older = (
        "from harness.strict.imports import when_imported\n"
        "def take(torch):\n    del torch.library.get_kernel\n    torch.__version__ = '2.8.0'\n"
        "when_imported('torch', take)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(older)
    changes = {"PYTHONPATH": f"{variables()['PYTHONPATH']}:{tmp_path}", "HARNESS_OUTPUT": str(tmp_path)}
    assert script("import torch\nprint('ran')", **changes).stdout == "ran\n"
    ended = script("import torch\nprint('ran')", profile="x86-64-v3", **changes)
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "torch 2.8.0 has no torch.library.get_kernel" in (tmp_path / "refused.txt").read_text()
    assert "Traceback" not in ended.stderr
    assert "Use torch 2.9 or a later one, or the profile native." in ended.stderr


TORCH_OFF = """
import torch
torch.set_deterministic_debug_mode("default")
torch.set_num_threads(2)
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.deterministic = False
print(torch.get_deterministic_debug_mode(), torch.get_num_threads(), end=" ")
print(torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic)
"""


@torch_only
def test_torchs_other_switches_stay_on_too_and_the_program_is_told(script, tmp_path):
    strict = script(TORCH_OFF, HARNESS_OUTPUT=str(tmp_path))
    assert (strict.returncode, strict.stdout) == (0, "2 1 False True\n")
    assert strict.stderr.splitlines() == [
        "harness: strict: torch.set_deterministic_debug_mode stays error, not default",
        "harness: strict: torch.set_num_threads stays 1, not 2",
        "harness: strict: torch.backends.cudnn.benchmark stays False, not True",
        "harness: strict: torch.backends.cudnn.deterministic stays True, not False",
    ]


@torch_only
def test_a_switch_of_torch_that_could_not_be_kept_is_found_when_the_program_ends(script, tmp_path):
    off = "import torch\ntorch._C._set_deterministic_algorithms(False)\nprint('ran')"
    ended = script(off, HARNESS_OUTPUT=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (4, "ran\n")
    assert "torch.are_deterministic_algorithms_enabled() is False" in (tmp_path / "refused.txt").read_text()


@torch_only
def test_torch_in_best_effort_is_seeded_and_otherwise_the_programs_own(script, tmp_path):
    code = TORCH.replace("SEED", "7") + TORCH_OFF
    free = script(code, mode="best_effort", seed=7, HARNESS_OUTPUT=str(tmp_path))
    lines = free.stdout.splitlines()
    assert (lines[0], *lines[2:]) == ("False False", "True", "ran what does not repeat", "0 2 True False")
    assert (free.returncode, free.stderr) == (0, "")


def test_a_process_without_numeric_libraries_is_spared_what_only_these_need(variables, start, tmp_path):
    needed = ("pathlib", "importlib.metadata", "harness.strict.dispatch")

    def imported(code: str) -> set[str]:
        ended = start(["-X", "importtime", "-c", code], variables(HARNESS_OUTPUT=str(tmp_path)), tmp_path)
        assert ended.returncode == 0, ended.stderr
        return {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}

    spared = imported("pass")
    assert "harness.strict.hook" in spared
    assert spared.isdisjoint(needed)
    pytest.importorskip("numpy")
    assert imported("import numpy").issuperset(needed)
