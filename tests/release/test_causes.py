from graphlib import TopologicalSorter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.release import causes
from harness.release.causes import follows_from
from harness.release.changes import Difference
from harness.release.entries import SURVEYED
from harness.release.report import Kind, Layer

OWNERS = ("numpy", "scipy", "torch", "sklearn", "system", "xgboost", "xgboost_cpu")
VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "REPRO_MODE", "REPRO_PROFILE", "REPRO_THREADS", "REPRO_VARIANT",
    "MKL_CBWR", "NPY_DISABLE_CPU_FEATURES", "CUDA_VISIBLE_DEVICES", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE", "LANG",
)  # fmt: skip
NAMES = (
    *(f"hardware {name}" for name in (
        "cores", "memory", "cpu.architecture", "cpu.vendor", "cpu.family", "cpu.model", "cpu.model_name", "cpu.isa",
        "gpu.name", "gpu.compute_capability", "gpu.multiprocessors",
    )),
    *(f"kernel {name}" for name in ("release", "engine", "engine.kernel", "engine.version", "engine.api")),
    *(f"driver gpu.{name}" for name in ("driver", "libraries.cuda-driver", "libraries.gpus", "libraries.nvidia-x")),
    *(f"image {name}" for name in (
        "manifest", "config", "builder", "layers/debian", "layers/wheels", "layers/wheel:torch", "layers/configuration",
        "variables/LANG",
    )),
    *(f"os-package {name}" for name in ("bash", "libc6", "libgomp1", "libstdc++6", "python3.11-minimal")),
    *(f"native {name}" for name in ("libc", "libc.so.6", "libm.so.6", "libgomp.so.1", "libstdc++.so.6")),
    *(f"native {owner}/openmp" for owner in OWNERS),
    *(f"interpreter {name}" for name in ("version", "build", "compiler", "implementation", "executable")),
    *(f"wheel {name}" for name in ("numpy", "scipy", "torch", "scikit-learn", "xgboost-cpu", "jinja2", "nvidia-x")),
    *(f"variable {name}" for name in VARIABLES),
    *(f"runtime dispatch.{name}" for name in ("numpy", "openblas", "scipy/openblas", "torch/aten", "torch/mkl")),
    *(f"runtime settings.{name}" for name in ("threads", "numpy/openblas.threads", "OMP_NUM_THREADS", "torch/x")),
    "runtime profile",
    *(f"lock {name}" for name in (
        "debian.lock", "debian.lock/inputs", "debian.lock/snapshot", "debian.lock/suite", "python.txt",
        "python.txt/inputs", "python.txt/version", "variables", "image.lock/spec", "image.lock/python.txt",
        "image.lock/builder", "image.lock",
    )),
    *(f"spec {name}" for name in (
        "name", "variant", "large_wheel", "digest", "debian.suite", "debian.packages/bash", "debian.exclude/x",
        "python.version", "python.requirements/numpy", "python.exclude/*/x", "python.exclude/torch/x",
        "users/harness/uid", "files//etc/hosts",
        "links//usr/bin/sh", "postinst/bash",
    )),
    "code inside",
)  # fmt: skip


def differing(*names: str, kind: Kind = Kind.CHANGED) -> list[Difference]:
    parts = [name.split(" ", 1) for name in names]
    return [
        Difference(
            layer=Layer(layer), path=path, kind=kind, before="1", after="2",
            facts=("files",) if (layer, kind) == ("wheel", Kind.REBUILT) else (),
        )
        for layer, path in parts
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cause", "consequence"),
    [
        ("wheel numpy", "lock python.txt"),
        ("wheel numpy", "image layers/wheels"),
        ("wheel torch", "image layers/wheel:torch"),
        ("wheel torch", "native torch/openmp"),
        ("wheel scikit-learn", "native sklearn/openmp"),
        ("wheel xgboost-cpu", "native xgboost/openmp"),
        ("wheel xgboost-cpu", "native xgboost_cpu/openmp"),
        ("wheel scikit-learn", "runtime dispatch.sklearn/openblas"),
        ("wheel pyyaml", "native _yaml/x"),
        ("os-package libc6", "native libm.so.6"),
        ("os-package libgomp1", "native libgomp.so.1"),
        ("os-package libstdc++6", "native libstdc++.so.6"),
        ("os-package python3.11-minimal", "interpreter executable"),
        ("os-package bash", "lock debian.lock"),
        ("os-package bash", "image layers/debian"),
        ("spec debian.packages/bash", "lock debian.lock/inputs"),
        ("spec debian.suite", "lock debian.lock/suite"),
        ("spec python.version", "lock python.txt/version"),
        ("spec users/harness/uid", "image layers/configuration"),
        ("spec postinst/bash", "spec digest"),
        ("image builder", "image config"),
        ("hardware cpu.isa", "runtime dispatch.torch/aten"),
        ("variable OPENBLAS_CORETYPE", "runtime dispatch.openblas"),
        ("variable OPENBLAS_NUM_THREADS", "runtime settings.numpy/openblas.threads"),
        ("variable REPRO_THREADS", "variable OMP_NUM_THREADS"),
        ("runtime profile", "variable MKL_CBWR"),
        ("wheel numpy", "variable NPY_DISABLE_CPU_FEATURES"),
        ("hardware cores", "runtime settings.threads"),
    ],
)
def test_a_consequence_follows_from_its_cause(cause, consequence):
    assert follows_from(differing(cause, consequence)) == {consequence: (cause,)}


@pytest.mark.parametrize(
    ("other", "root"),
    [
        ("wheel numpy", "image layers/wheel:torch"),
        ("wheel numpy", "native torch/openmp"),
        ("wheel xgboost", "native xgboost_cpu/openmp"),
        ("wheel scikit-learn-intelex", "native sklearn/openmp"),
        ("wheel numpy", "image layers/debian"),
        ("wheel torch", "lock debian.lock"),
        ("os-package bash", "native libgomp.so.1"),
        ("os-package bash", "interpreter executable"),
        ("os-package libc6", "native libgomp.so.1"),
        ("kernel release", "image manifest"),
        ("hardware memory", "runtime dispatch.numpy"),
        ("variable LANG", "runtime settings.numpy/openblas.threads"),
        ("hardware cores", "runtime settings.numpy/openblas.threads"),
        ("spec users/harness/uid", "image layers/debian"),
        ("code inside", "wheel numpy"),
    ],
)
def test_what_a_change_does_not_explain_stays_a_root(other, root):
    assert follows_from(differing(other, root)) == {}


def test_alone_everything_is_a_root():
    for name in NAMES:
        assert follows_from(differing(name)) == {}


def test_a_wheel_with_a_layer_of_its_own_does_not_explain_the_shared_one():
    found = differing("wheel torch", "image layers/wheels")
    assert follows_from(found) == {"image layers/wheels": ("wheel torch",)}
    assert follows_from(found, own_layers=["torch"]) == {}


def test_a_consequence_names_the_roots_at_the_end_of_the_chain():
    layers = ("image layers/debian", "image layers/wheel:torch")
    found = differing("os-package bash", "wheel torch", *layers, "image config", "image manifest")
    follows = follows_from(found)
    assert follows["image manifest"] == follows["image config"] == ("os-package bash", "wheel torch")
    assert follows["image layers/debian"] == ("os-package bash",)


def test_what_a_gpu_brings_follows_from_it_only_where_it_came_or_went():
    gone = differing("hardware gpu.name", "driver gpu.driver", kind=Kind.REMOVED)
    assert follows_from(gone) == {"driver gpu.driver": ("hardware gpu.name",)}
    assert follows_from(differing("hardware gpu.name", "driver gpu.driver")) == {}


def test_without_its_lock_an_image_has_nothing_but_while_it_is_there_the_lock_explains_nothing():
    parts = ("image config", "image layers/debian", "image layers/wheel:torch", "image manifest")
    gone = differing("lock image.lock", *parts, kind=Kind.REMOVED)
    assert follows_from(gone) == dict.fromkeys(parts, ("lock image.lock",))
    roots = set(parts) - follows_from(differing("lock image.lock", *parts)).keys()
    assert roots == {"image layers/debian", "image layers/wheel:torch"}


@pytest.mark.parametrize(
    ("pattern", "follows"),
    [("scipy/_lib/*", True), ("*/tests/*", True), ("scipy-1*.dist-info/x", True), ("torch/test/*", False)],
)
def test_what_is_left_out_of_one_wheel_explains_no_other(pattern, follows):
    files = Difference(
        layer=Layer.WHEEL, path="scipy", kind=Kind.REBUILT, before="1", after="2", facts=("files",)
    )  # fmt: skip
    spec, layer = differing(f"spec python.exclude/{pattern}", "image layers/wheel:scipy")
    found = follows_from([spec, files, layer])
    assert found.get(files.name) == ((spec.name,) if follows else None)
    assert found[layer.name] == ((spec.name,) if follows else (files.name,))
    assert follows_from([spec, layer]) == ({layer.name: (spec.name,)} if follows else {})


def test_what_a_run_shows_is_not_excused_by_what_passes_and_digests_are():
    shown = differing("hardware memory", "hardware cores", "runtime settings.threads")
    assert follows_from(shown, harmless=["hardware cores"]) == {}
    assert follows_from(shown) == {"runtime settings.threads": ("hardware cores",)}
    both = ["hardware cores", "runtime settings.threads"]
    assert follows_from(shown, harmless=both) == {"runtime settings.threads": ("hardware cores",)}
    helped = [*shown, *differing("variable OMP_NUM_THREADS")]
    assert follows_from(helped, harmless=["hardware cores"]) == {
        "runtime settings.threads": ("hardware cores", "variable OMP_NUM_THREADS")
    }
    digest = differing("spec postinst/bash", "spec digest")
    assert follows_from(digest, harmless=["spec postinst/bash"]) == {"spec digest": ("spec postinst/bash",)}


def test_files_of_a_wheel_are_not_excused_by_what_passes():
    spec, files = "spec python.exclude/torch/x", "wheel torch"
    rebuilt = differing(spec, files, kind=Kind.REBUILT)
    assert follows_from(rebuilt) == {files: (spec,)}
    assert follows_from(rebuilt, harmless=[spec]) == {}
    assert follows_from(rebuilt, harmless=[spec, files]) == {files: (spec,)}


def test_what_follows_from_a_change_that_is_not_excused_follows_from_it():
    chain = differing("os-package libc6", "native libc", "native libm.so.6")
    assert follows_from(chain)["native libm.so.6"] == ("os-package libc6",)
    assert follows_from(chain, harmless=["os-package libc6"]) == {}
    passing = ["os-package libc6", "native libm.so.6"]
    assert follows_from(chain, harmless=passing) == {"native libm.so.6": ("os-package libc6", "native libc")}


@given(st.sets(st.sampled_from(NAMES), min_size=1), st.sets(st.sampled_from(NAMES)), st.sampled_from(Kind))
@example({"spec python.exclude/torch/x", "wheel torch"}, {"spec python.exclude/torch/x"}, Kind.REBUILT)
@example({"hardware cores", "runtime settings.threads"}, {"hardware cores"}, Kind.CHANGED)
def test_nothing_that_a_run_shows_and_that_is_bad_passes_with_what_is_behind_it(names, harmless, kind):
    found = differing(*sorted(names), kind=kind)
    follows = follows_from(found, harmless=harmless)
    for item in found:
        if item.layer in SURVEYED | {Layer.WHEEL} and item.name not in harmless:
            assert not set(follows.get(item.name, (item.name,))) <= harmless


@pytest.mark.parametrize("kind", Kind)
def test_nothing_follows_from_itself_in_the_end(kind):
    found = {item.name: item for item in differing(*NAMES, kind=kind)}
    graph = {name: causes._direct(item, found, set()) for name, item in found.items()}
    assert set(TopologicalSorter(graph).static_order()) == set(NAMES)  # raises where there is a cycle


@given(st.sets(st.sampled_from(NAMES), min_size=1), st.sampled_from(Kind))
def test_every_consequence_leads_to_roots_and_there_always_is_one(names, kind):
    follows = follows_from(differing(*sorted(names), kind=kind))
    assert follows.keys() < names
    for roots in follows.values():
        assert roots
        assert set(roots) <= names - follows.keys()


def test_even_a_circle_has_its_roots(monkeypatch):
    circle = (causes.Row("wheel a", ("wheel b",)), causes.Row("wheel b", ("wheel a",)))
    monkeypatch.setattr(causes, "ROWS", circle)
    assert follows_from(differing("wheel a", "wheel b")) == {}
