"""States of environments as they really are: the locks are the checkout's own, the survey is a CPU machine's."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.locking.python import PythonLock
from harness.record.environment import Captured, Cpu, Library, environment_signature
from harness.record.fingerprints import cell_fingerprint
from harness.record.snapshot import Group
from harness.release.baseline import Baseline, Golden, GoldenResult, sealed
from harness.release.observe import sources
from harness.release.site import Site
from harness.release.state import EnvironmentState, Sources
from harness.runs.opening import EngineName
from harness.runs.survey import Survey
from harness.spec.digest import Digest, digest_from_hex
from harness.spec.run import ImageReference, Mode, Profile
from harness.spec.variables import numeric_settings, run_variables
from harness.store.progress import SILENT, Task
from harness.store.store import Store

ROOT = Path(__file__).parents[2]

KERNELS = {
    "python": ("exp", "fsum", "log", "pow", "sin"),
    "numpy": ("dot64", "exp32", "exp64", "gemm64", "quantile64", "sum32", "svd64"),
    "scipy": ("erf", "expm", "lu", "qr"),
    "sklearn": ("forest", "kmeans", "logistic", "scaler"),
    "lightgbm": ("binary.model", "binary.predictions", "regression.model", "regression.predictions"),
    "xgboost": ("logistic.leaves", "logistic.predictions", "squarederror.leaves", "squarederror.predictions"),
    "torch": ("adam32", "conv2d32", "mm32", "mm64", "randn", "softmax64"),
}


def _digest(*parts: object) -> Digest:
    return digest_from_hex(hashlib.sha256(repr(parts).encode()).hexdigest())


def _captured(python: PythonLock, variables: dict[str, str]) -> Captured:
    return Captured(
        python={
            "version": "3.11.2",
            "implementation": "CPython",
            "compiler": "GCC 12.2.0",
            "build": "main May 12 2026 05:17:27",
            "executable": _digest("python3.11"),
        },
        libraries={
            wheel.name: Library(wheel.version, _digest("RECORD", wheel.name, wheel.version)) for wheel in python.wheels
        },
        native={
            "libc": "glibc 2.36",
            **{name: _digest(name) for name in ("libc.so.6", "libgomp.so.1", "libm.so.6", "libstdc++.so.6")},
            "numpy/openblas": "0.3.31.188.0",
            "scipy/openblas": "0.3.30",
            "sklearn/openmp": "present",
            "system/openmp": "present",
            "torch/mkl": "Version 2024.2-Product Build 20240605 for Intel(R) 64 architecture applications",
            "torch/onednn": "v3.12.0 (Git Hash 80afa71049cd69a3df32adcccb623b12cd7baa22)",
        },
        cpu=Cpu(
            architecture="x86_64",
            vendor="AuthenticAMD",
            family="25",
            model="17",
            model_name="AMD EPYC",
            dispatch={
                "isa": "avx avx2 avx512bw avx512cd avx512dq avx512f avx512vl bmi1 bmi2 f16c fma sse4_2",
                "numpy": "X86_V3 X86_V4 AVX512_ICL",
                "openblas": "SkylakeX",
                "scipy/openblas": "SkylakeX",
                "torch/aten": "AVX512",
                "torch/mkl": "AUTO",
                "torch/onednn": "Intel AVX-512 with Intel DL Boost and bfloat16 support",
            },
        ),
        gpu=None,
        settings={
            **numeric_settings(variables),
            "numpy/openblas.threads": "1",
            "scipy/openblas.threads": "1",
            "sklearn/openmp.threads": "1",
            "strict_kernels": "1",
            "system/openmp.threads": "1",
            "torch/deterministic_algorithms": "true",
        },
        probe={
            name: {kernel: _digest("probe", name, kernel) for kernel in kernels} for name, kernels in KERNELS.items()
        },
        host={"cores": "2", "kernel": "Linux 6.1.0-40-amd64"},
    )


def _survey(of: Sources, profile: Profile) -> Survey:
    variables = run_variables(
        mode=Mode.STRICT.value,
        profile=profile.value,
        variant=of.spec.variant,
        seed=42,
        version="v1",
        cores=2,
        libraries={wheel.name: wheel.version for wheel in of.python.wheels},
    )
    return Survey(
        captured=_captured(of.python, variables),
        variables=variables,
        engine={
            "engine": "docker",
            "version": "28.5.1",
            "api": "1.51",
            "storage_driver": "overlay2",
            "cgroup_version": "2",
            "operating_system": "Debian GNU/Linux 12 (bookworm)",
            "kernel": "6.1.0-40-amd64",
        },
        memory=8 << 30,
    )


@pytest.fixture(scope="session")
def cpu_sources() -> Sources:
    """What the checkout's own CPU image is made from."""
    return sources(ROOT, "cpu")


@pytest.fixture
def state(cpu_sources: Sources) -> Callable[..., EnvironmentState]:
    """`state(profile=…, sources=…, survey=…, …)`: the environment `cpu`, surveyed; keywords replace fields."""

    def make(**fields: Any) -> EnvironmentState:
        of, profile = fields.get("sources", cpu_sources), fields.get("profile", Profile.NATIVE)
        survey = fields["survey"] if "survey" in fields else _survey(of, profile)
        whole = EnvironmentState(name="cpu", engine=EngineName.DOCKER, profile=profile, sources=of, survey=survey)
        return msgspec.structs.replace(whole, **fields)

    return make


def _group(of: EnvironmentState, target: str, family: str) -> Group:
    assert of.survey is not None
    locked = of.sources.image
    image = None if locked is None else ImageReference(locked.name, locked.manifest, locked.config)
    return {
        "dataset_signature": _digest("dataset"),
        "task_signature": _digest("task", target),
        "routing_signature": _digest("routing"),
        "split_signature": _digest("split"),
        "feature_signature": _digest("feature"),
        "universe_signature": _digest("universe"),
        "hyperparameters_signature": _digest("hyperparameters", family),
        "environment_signature": environment_signature(of.survey.captured, image, of.profile),
        "probe_signature": _digest("probe", family),
        "train_seed": 42,
        "mode": Mode.STRICT.value,
        "profile": of.profile.value,
        **({} if family == "lightgbm" else {"threads_per_fit": 1}),
    }


@pytest.fixture
def golden(state: Callable[..., EnvironmentState]) -> Callable[..., Golden]:
    """`golden(of, …)`: a golden run in the state `of` (by default `state()`); keywords replace fields."""

    def make(of: EnvironmentState | None = None, **fields: Any) -> Golden:
        where = of or state()
        cells = []
        for target, view, symbol, family in (
            ("fwd_ret_10d", "CROSS_SECTIONAL", None, "lightgbm"),
            ("fwd_ret_10d", "CROSS_SECTIONAL", None, "xgboost"),
            ("fwd_ret_10d", "SYMBOL_SPECIFIC", "AAPL", "lightgbm"),
        ):
            cell = (target, view, symbol, family)
            outputs = {
                name: _digest(name, *cell) for name in ("predictions", "model", "metrics", "feature_importances")
            }
            cells.append(
                GoldenResult(
                    target=target,
                    view=view,
                    symbol=symbol,
                    family=family,
                    group=_group(where, target, family),
                    outputs=outputs,
                    fingerprint=cell_fingerprint(outputs),
                    metrics={"rmse": 0.05, "ic": 0.02},
                )
            )
        whole = Golden(environment=where.name, experiment="determinism_test", quick=True, cells=tuple(cells))
        return msgspec.structs.replace(whole, **fields)

    return make


class Notes:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def task(self, description: str, *, total: float | None = None, unit: str = "items") -> Iterator[Task]:
        with SILENT.task(description, total=total, unit=unit) as task:
            yield task

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An empty checkout called `project`, with a store and a results folder of its own; `site.progress.notes`."""
    root = tmp_path / "project"
    root.mkdir()
    return Site(root=root, store=Store(tmp_path / "store"), progress=Notes(), results=tmp_path / "RESULTS")


@pytest.fixture
def baseline(state: Callable[..., EnvironmentState], golden: Callable[..., Golden]) -> Callable[..., Baseline]:
    """`baseline(release="v1.2", environments=…, golden=…, …)`: of the environment `cpu`, sealed."""

    def make(**fields: Any) -> Baseline:
        whole: dict[str, Any] = {
            "release": "v1.2",
            "project": "project",
            "architecture": "x86_64",
            "commit": "c0ffee" * 6 + "beef",
            "dirty": False,
            "code": _digest("code"),
            "environments": [state()],
            "golden": [golden()],
        }
        return sealed(**whole | fields)

    return make
