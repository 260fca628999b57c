"""The processes of the GPU tests, on the CPU: what can be seen of them without a GPU."""

import pytest

torch = pytest.importorskip("torch")

from tests.gpu import tasks  # noqa: E402
from tests.gpu.processes import ask  # noqa: E402

FITS = ("mlp", "cnn", "transformer", "amp", "xgboost")
REPEATED = (*FITS, "states")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    pytest.importorskip("xgboost")
    asked = [(42, (*REPEATED, "settings", "operators")), (42, REPEATED), (7, REPEATED)]
    return [ask("cpu", tasks, tmp_path_factory.mktemp("output"), seed=seed) for seed, tasks in asked]


@pytest.mark.parametrize("fit", FITS)
def test_a_fit_gives_the_same_bits_in_every_process_and_another_seed_others(answers, fit):
    first, second, other = (answer[fit] for answer in answers)
    assert first == second
    assert first != other


def test_settings_are_in_effect_as_far_as_a_cpu_has_them(answers):
    found = dict(answers[0]["settings"])
    assert found.pop("matmul_error") < 1e-5
    assert found.pop("conv_error") < 1e-5
    assert set(found.pop("variables").values()) == {None}, "a strict run of the CPU variant has none of CUDA's"
    assert found == {
        "deterministic": True, "warn_only": False, "cudnn.deterministic": True, "cudnn.benchmark": False,
        "cudnn.allow_tf32": False, "matmul.allow_tf32": False, "float32_matmul_precision": "highest",
        "fill_uninitialized_memory": False,
    }  # fmt: skip


def test_every_operator_of_the_gpu_tests_is_one_that_the_installed_torch_documents():
    documented = torch.use_deterministic_algorithms.__doc__.partition("will throw a")[2]
    for name in tasks.OPERATORS:
        assert f"`{name}`" in documented, name


def test_operators_that_refuse_on_the_cpu_too_raise_and_the_others_run(answers):
    refused = {name for name, message in answers[0]["operators"].items() if message is not None}
    assert refused == {"torch.Tensor.put_", "torch.nn.MaxUnpool2d"}
    for name in refused:
        assert "does not have a deterministic implementation" in answers[0]["operators"][name]


def test_states_that_are_put_back_draw_the_same(answers):
    first, second, again = answers[0]["states"]
    assert second == again != first
    assert answers[1]["states"] == answers[0]["states"]
    assert answers[2]["states"] != answers[0]["states"]
