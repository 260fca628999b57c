from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.runs.configuration import Configuration, configure, exec_request, run_request
from harness.runs.opening import EngineName
from harness.spec.run import Mode


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_without_anything_it_is_the_seeds_defaults():
    configuration = configure(None, {}, {"seed": None, "deterministic": None})
    assert configuration == Configuration()
    assert (configuration.seeds, configuration.mode) == ((42,), Mode.BEST_EFFORT)
    assert (configuration.experiment, configuration.engine) == ("determinism_test", EngineName.DOCKER)


def test_the_command_line_beats_variables_these_the_file_and_that_the_defaults(tmp_path):
    file = written(tmp_path, "seed: 1\ndeterministic: true\nimage: cuda\n")
    assert configure(file, {}, {}).seeds == (1,)
    assert configure(file, {}, {}).mode is Mode.STRICT
    assert configure(file, {}, {}).image == "cuda"
    variables = {"REPRO_SEED": "2", "REPRO_MODE": "best_effort"}
    assert configure(file, variables, {}).seeds == (2,)
    assert configure(file, variables, {}).mode is Mode.BEST_EFFORT
    assert configure(file, {"REPRO_MODE": "best_effort"}, {}).seeds == (1,)
    assert configure(file, variables, {"seed": (3,), "deterministic": True, "image": "cpu"}).seeds == (3,)
    assert configure(file, variables, {"deterministic": True}).mode is Mode.STRICT
    assert configure(file, {}, {"deterministic": False}).mode is Mode.BEST_EFFORT


def test_several_seeds_may_stand_in_the_file(tmp_path):
    assert configure(written(tmp_path, "seed: [42, 123]\n"), {}, {}).seeds == (42, 123)


def test_each_key_reaches_the_run():
    configuration = Configuration(
        experiment="e", data_dir="d", symbols=("S",), targets=("t",), features=("f",), families=("g",), quick=True,
        image="cuda", workers=3, memory=5, time_limit=7.0, output_dir="O", deterministic=True,
    )  # fmt: skip
    request = run_request(configuration, 9, "n")
    assert (request.experiment, request.data, request.results) == ("e", Path("d"), Path("O"))
    assert (request.symbols, request.targets, request.features, request.families) == (("S",), ("t",), ("f",), ("g",))
    assert (request.seed, request.mode, request.run_name, request.quick) == (9, Mode.STRICT, "n", True)
    assert (request.image, request.workers, request.memory, request.time_limit) == ("cuda", 3, 5 << 20, 7.0)
    program = exec_request(Configuration(program=("python", "x.py"), seed=4, name="n", memory=1))
    assert (program.argv, program.seed, program.mode) == (("python", "x.py"), 4, Mode.BEST_EFFORT)
    assert (program.run_name, program.memory) == ("n", 1 << 20)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("seed: 1\nsede: 2\n", "line 2: sede is not a known key"),
        ("seed: -1\n", "line 1: seed"),
        ("seed: true\n", "line 1: seed"),
        ("seed: 1.5\n", "line 1: seed"),
        ("deterministic: 1\n", "line 1: deterministic"),
        ("\nfamilies: lightgbm\n", "line 2: families"),
        ("engine: podman\n", "line 1: engine"),
        ("workers: 0\n", "line 1: workers"),
        ("seed: 1\nseed: 2\n", "given twice"),
        ("seed: [1, 2, 1]\n", "The seed 1 is given twice"),
        ("seed: []\n", "no seed"),
        ("time_limit: 0\n", "time_limit"),
        ("program: []\n", "program is empty"),
        ("program: [python]\nseed: [1, 2]\n", "one seed"),
        ("program: [python]\nquick: true\n", "quick does not go with program"),
        ("program: [python]\nexperiment: mine\n", "experiment does not go with program"),
        ("", "empty"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_by_line_and_key(tmp_path, text, part):
    with pytest.raises(UsageError, match="(?s)" + part):
        configure(written(tmp_path, text), {}, {})


@pytest.mark.parametrize("variables", [{"REPRO_SEED": "x"}, {"REPRO_SEED": "-1"}, {"REPRO_MODE": "fast"}])
def test_a_variable_that_means_nothing_is_refused_by_name(variables):
    with pytest.raises(UsageError, match=next(iter(variables))):
        configure(None, variables, {})


@pytest.mark.parametrize("seeds", [(1, 1), (-1,)])
def test_a_seed_twice_or_below_zero_on_the_command_line_is_refused(seeds):
    with pytest.raises(UsageError, match="seed"):
        configure(None, {}, {"seed": seeds})
