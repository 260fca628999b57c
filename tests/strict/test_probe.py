import importlib.util
import json
import platform
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.record.environment import PROBED
from harness.strict.probe import KNOWN, _labels, _regression, probe

INSTALLED = [name for name in KNOWN if name == "python" or importlib.util.find_spec(name) is not None]
PROBE = "import json, sys\nfrom harness.strict.probe import probe\nprint(json.dumps(probe(sys.argv[1:])))"


def measure(variables, *libraries, **changes):
    environment = variables(HARNESS_HOOK="trainer", **changes)
    ended = subprocess.run(
        [sys.executable, "-c", PROBE, *libraries], env=environment, cwd="/", capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return json.loads(ended.stdout)


@pytest.fixture
def measured(variables):
    return partial(measure, variables)


@pytest.fixture(scope="module")
def answer(variables):
    return measure(variables, *INSTALLED)


def test_two_processes_give_the_same_digests_for_every_library(answer, measured):
    assert measured(*INSTALLED) == answer
    assert list(answer) == sorted(INSTALLED)
    assert all(digest.startswith("sha256:") for kernels in answer.values() for digest in kernels.values())


@pytest.mark.parametrize("library", INSTALLED)
def test_no_two_kernels_measure_the_same(library, answer):
    # An order of ties is the same in both precisions; it is the kernels that differ.
    digests = [digest for name, digest in answer[library].items() if name != "argsort32"]
    assert len(digests) > 3
    assert len(set(digests)) == len(digests)


def test_the_probe_leaves_the_generators_as_they_were():
    numpy = pytest.importorskip("numpy")
    import random

    numpy.random.seed(3)
    random.seed(3)
    undisturbed = (numpy.random.rand(), random.random())
    numpy.random.seed(3)
    random.seed(3)
    probe([name for name in INSTALLED if name != "torch"])
    assert (numpy.random.rand(), random.random()) == undisturbed


@pytest.mark.skipif("numpy" not in INSTALLED, reason="needs NumPy")
def test_what_models_are_fitted_to_has_an_intercept_far_from_0():
    # With even classes and a centred target, another way to estimate an intercept would leave every number as it was.
    _, target = _regression()
    labels = _labels(target)
    assert labels.mean() == 5 / 8
    assert target.min() < 0
    assert target.mean() > 2 * target.std()


def changed(one, other, library):
    return {kernel for kernel, digest in one[library].items() if other[library][kernel] != digest}


@pytest.mark.skipif("numpy" not in INSTALLED or platform.machine() != "x86_64", reason="needs NumPy on x86-64")
def test_other_kernels_are_noticed_and_only_where_they_are_used(measured):
    base = measured("numpy", OPENBLAS_CORETYPE="Haswell")
    blas = changed(base, measured("numpy", OPENBLAS_CORETYPE="Prescott"), "numpy")
    assert {"gemm64", "gemm32", "dot64", "svd64"} <= blas
    assert not blas & {"exp64", "sum64", "argsort64"}


@pytest.mark.skipif("numpy" not in INSTALLED, reason="needs NumPy")
def test_another_instruction_set_of_numpy_is_noticed(measured):
    import numpy as np

    from harness.strict.dispatch import numpy_features

    assert np.__version__  # loaded, so that it can be asked
    if not {"X86_V3", "AVX2"} & set(features := numpy_features()):
        pytest.skip("this CPU has nothing beyond the baseline")
    one = measured("numpy", "python")
    other = measured("numpy", "python", NPY_DISABLE_CPU_FEATURES=",".join(features))
    assert {"exp64", "log64", "sin32"} <= changed(one, other, "numpy")
    assert changed(one, other, "python") == set()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or platform.machine() != "x86_64", reason="needs glibc on x86-64")
def test_another_variant_of_the_c_library_is_noticed(measured):
    if "fma" not in Path("/proc/cpuinfo").read_text().split():
        pytest.skip("this CPU has no FMA")
    other = measured("python", GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX2,-FMA")
    assert {"sin", "cos"} <= changed(measured("python"), other, "python")


@pytest.mark.skipif("sklearn" not in INSTALLED, reason="needs scikit-learn")
def test_another_blas_under_scikit_learn_is_noticed_and_no_tree_moves_with_it(measured):
    if platform.machine() != "x86_64":
        pytest.skip("needs two core types of OpenBLAS")
    base = measured("sklearn", OPENBLAS_CORETYPE="Haswell")
    found = changed(base, measured("sklearn", OPENBLAS_CORETYPE="Prescott"), "sklearn")
    assert "distances" in found
    assert not found & {"tree", "forest", "scaler"}


def test_what_reports_call_probed_is_what_has_kernels():
    assert tuple(KNOWN) == PROBED


def test_an_unknown_library_is_refused_by_name():
    with pytest.raises(UsageError, match="tensorflow has no probe"):
        probe(["python", "tensorflow"])
