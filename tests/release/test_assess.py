"""The central test of the drift check: what is planted is named, what follows from it follows, and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.locking.base import BaseImage, BaseLayer
from harness.record.environment import environment_signature
from harness.record.hashing import signature
from harness.release.assess import assess
from harness.release.baseline import Golden
from harness.release.report import (
    ELSEWHERE,
    ENVIRONMENT,
    Answer,
    EnvironmentDrift,
    GoldenCell,
    Kind,
    Layer,
    NotTested,
    Severity,
)
from harness.release.rules import Moves, Rule, Rules, load_rules
from harness.release.state import EnvironmentState
from harness.runs.opening import EngineName
from harness.spec.digest import Digest, digest_from_hex
from harness.spec.run import ImageReference

Raw = dict[str, Any]

ROOT = Path(__file__).parents[2]
CODE = digest_from_hex("c" * 64)
IMAGE = {"image config", "image manifest"}
ADDED, REMOVED, UPGRADED, DOWNGRADED, REBUILT, CHANGED = Kind
GPU = {
    "name": "NVIDIA H100", "compute_capability": "9.0", "multiprocessors": 132, "driver": "550.54.14",
    "libraries": {"cuda-driver": "12.4", "gpus": "1"},
}  # fmt: skip


def other(digest: str) -> str:
    """Another digest."""
    return digest[:-1] + ("0" if digest[-1] != "0" else "1")


def flip(mapping: Raw, key: str) -> None:
    mapping[key] = other(mapping[key])


def named(items: list[Raw], name: str) -> Raw:
    return next(item for item in items if item["name"] == name)


def rebuild(raw: Raw, *layers: str, lock: str | None = None) -> None:
    """What a change of an input shows in besides: its lock's digest, the layers it goes into, config and manifest."""
    sources = raw["sources"]
    if lock is not None:
        flip(sources["digests"], lock)
        sources["image"]["inputs"][lock] = sources["digests"][lock]
    for layer in layers:
        flip(named(sources["image"]["layers"], layer), "digest")
    if layers:
        flip(sources["image"], "config")
        flip(sources["image"], "manifest")


def captured(raw: Raw) -> Raw:
    found: Raw = raw["survey"]["captured"]
    return found


def wheel(raw: Raw, name: str, version: str | None = None) -> None:
    """Another wheel under that name, of another version if one is given."""
    locked, installed = named(raw["sources"]["python"]["wheels"], name), captured(raw)["libraries"][name]
    flip(locked, "digest")
    flip(installed, "digest")
    if version is not None:
        locked["filename"] = locked["filename"].replace(locked["version"], version)
        locked["version"] = installed["version"] = version


class Plant(msgspec.Struct, frozen=True):
    """What is planted: how, in which root it must show, and in which consequences."""

    change: Callable[[Raw], None]
    root: str
    kind: Kind
    consequences: frozenset[str] = frozenset()
    expires_all: bool = True
    gpu: bool = False


PLANTS: dict[str, Plant] = {}


def plant(
    root: str, kind: Kind, *consequences: str, expires_all: bool = True, gpu: bool = False
) -> Callable[[Callable[[Raw], None]], Callable[[Raw], None]]:
    def register(change: Callable[[Raw], None]) -> Callable[[Raw], None]:
        PLANTS[change.__name__] = Plant(change, root, kind, frozenset(consequences), expires_all, gpu)
        return change

    return register


@plant("wheel numpy", REBUILT, "lock python.txt", "image layers/wheel:numpy", *IMAGE)
def a_wheel_rebuilt_under_its_version(raw: Raw) -> None:
    wheel(raw, "numpy")
    rebuild(raw, "wheel:numpy", lock="python.txt")


@plant("wheel torch", UPGRADED, "lock python.txt", "image layers/wheel:torch", "native torch/onednn", *IMAGE)
def a_wheel_upgraded(raw: Raw) -> None:
    wheel(raw, "torch", "2.999.0+cpu")
    captured(raw)["native"]["torch/onednn"] = "v3.13.0"
    rebuild(raw, "wheel:torch", lock="python.txt")


@plant("wheel lightgbm", DOWNGRADED, "lock python.txt", "image layers/wheels", *IMAGE)
def a_wheel_downgraded(raw: Raw) -> None:
    wheel(raw, "lightgbm", "3.3.5")
    rebuild(raw, "wheels", lock="python.txt")


@plant("wheel jinja2", REMOVED, "lock python.txt", "image layers/wheels", *IMAGE)
def a_wheel_removed(raw: Raw) -> None:
    wheels = raw["sources"]["python"]["wheels"]
    wheels.remove(named(wheels, "jinja2"))
    del captured(raw)["libraries"]["jinja2"]
    rebuild(raw, "wheels", lock="python.txt")


@plant("wheel stowaway", ADDED)
def a_wheel_installed_that_no_lock_knows(raw: Raw) -> None:
    captured(raw)["libraries"]["stowaway"] = {"version": "1.0", "digest": other("sha256:" + "a" * 64)}


@plant("wheel scipy", CHANGED)
def a_wheel_installed_in_another_version_than_locked(raw: Raw) -> None:
    captured(raw)["libraries"]["scipy"]["version"] = "1.0.0"


@plant("variable OPENBLAS_NUM_THREADS", REMOVED, "runtime settings.numpy/openblas.threads", expires_all=False)
def a_blas_pin_dropped(raw: Raw) -> None:
    del raw["survey"]["variables"]["OPENBLAS_NUM_THREADS"]
    del captured(raw)["settings"]["OPENBLAS_NUM_THREADS"]
    captured(raw)["settings"]["numpy/openblas.threads"] = "2"


@plant("variable MKL_CBWR", CHANGED, "runtime dispatch.torch/mkl")
def a_variable_changed(raw: Raw) -> None:
    raw["survey"]["variables"]["MKL_CBWR"] = captured(raw)["settings"]["MKL_CBWR"] = "COMPATIBLE"
    captured(raw)["cpu"]["dispatch"]["torch/mkl"] = "COMPATIBLE"


@plant("variable TZ", CHANGED, expires_all=False)
def a_variable_that_is_not_numeric(raw: Raw) -> None:
    raw["survey"]["variables"]["TZ"] = "Europe/Zurich"


@plant("runtime settings.MKL_VML_MODE", ADDED)
def a_setting_that_the_run_does_not_set(raw: Raw) -> None:
    captured(raw)["settings"]["MKL_VML_MODE"] = "VML_EP"


@plant("runtime settings.strict_kernels", CHANGED)
def other_kernels_of_our_own(raw: Raw) -> None:
    captured(raw)["settings"]["strict_kernels"] += "+"


@plant("runtime settings.scipy/openblas.threads", CHANGED, expires_all=False)
def a_thread_count(raw: Raw) -> None:
    captured(raw)["settings"]["scipy/openblas.threads"] = "2"


@plant(
    "os-package libgomp1", UPGRADED,
    "native libgomp.so.1", "lock debian.lock", "lock debian.lock/snapshot", "image layers/debian", *IMAGE,
)  # fmt: skip
def an_os_library_upgraded(raw: Raw) -> None:
    package = named(raw["sources"]["debian"]["packages"], "libgomp1")
    package["version"] += "+deb12u1"
    flip(package, "digest")
    raw["sources"]["debian"]["snapshot"] = "20270101T000000Z"
    flip(captured(raw)["native"], "libgomp.so.1")
    rebuild(raw, "debian", lock="debian.lock")


@plant("os-package bash", REBUILT, "lock debian.lock", "image layers/debian", *IMAGE)
def an_os_package_rebuilt(raw: Raw) -> None:
    flip(named(raw["sources"]["debian"]["packages"], "bash"), "digest")
    rebuild(raw, "debian", lock="debian.lock")


@plant("driver gpu.driver", UPGRADED, "driver gpu.libraries.cuda-driver", gpu=True)
def a_driver(raw: Raw) -> None:
    captured(raw)["gpu"]["driver"] = "560.28.3"
    captured(raw)["gpu"]["libraries"]["cuda-driver"] = "12.6"


@plant(
    "hardware gpu.name", CHANGED, "hardware gpu.compute_capability", "hardware gpu.multiprocessors", gpu=True
)  # fmt: skip
def another_gpu(raw: Raw) -> None:
    captured(raw)["gpu"] |= {"name": "NVIDIA A100", "compute_capability": "8.0", "multiprocessors": 108}


@plant(
    "hardware gpu.name", REMOVED,
    "hardware gpu.compute_capability", "hardware gpu.multiprocessors", "driver gpu.driver",
    "driver gpu.libraries.cuda-driver", "driver gpu.libraries.gpus", gpu=True,
)  # fmt: skip
def a_gpu_gone(raw: Raw) -> None:
    captured(raw)["gpu"] = None


@plant("hardware cpu.model", CHANGED, "hardware cpu.model_name")
def another_cpu(raw: Raw) -> None:
    captured(raw)["cpu"] |= {"model": "1", "model_name": "AMD EPYC 7763"}


@plant("hardware cpu.isa", CHANGED, "runtime dispatch.numpy", "runtime dispatch.torch/aten")
def an_instruction_set_gone(raw: Raw) -> None:
    dispatch = captured(raw)["cpu"]["dispatch"]
    dispatch["isa"] = dispatch["isa"].replace(" avx512f", "")
    dispatch |= {"numpy": "X86_V3", "torch/aten": "AVX2"}


@plant("hardware cpu.isa", CHANGED)
def an_instruction_set_gone_that_no_library_took(raw: Raw) -> None:
    dispatch = captured(raw)["cpu"]["dispatch"]
    dispatch["isa"] = dispatch["isa"].replace(" sse4_2", "")


@plant("hardware memory", CHANGED, expires_all=False)
def more_memory(raw: Raw) -> None:
    raw["survey"]["memory"] *= 2


@plant("hardware cores", CHANGED, expires_all=False)
def more_cores(raw: Raw) -> None:
    captured(raw)["host"]["cores"] = "64"


@plant("kernel release", UPGRADED, "kernel engine.kernel", expires_all=False)
def a_kernel(raw: Raw) -> None:
    captured(raw)["host"]["kernel"] = "Linux 6.1.0-41-amd64"
    raw["survey"]["engine"]["kernel"] = "6.1.0-41-amd64"


@plant("kernel engine.version", DOWNGRADED, "kernel engine.api", expires_all=False)
def an_older_engine(raw: Raw) -> None:
    raw["survey"]["engine"] |= {"version": "20.10.24", "api": "1.41"}


@plant("interpreter build", CHANGED, "interpreter executable")
def an_interpreter_built_anew(raw: Raw) -> None:
    captured(raw)["python"]["build"] = "main Jun 1 2026 00:00:00"
    flip(captured(raw)["python"], "executable")


@plant("interpreter executable", REBUILT)
def an_interpreter_with_other_bytes(raw: Raw) -> None:
    flip(captured(raw)["python"], "executable")


@plant("native libgomp.so.1", CHANGED)
def an_openmp_that_no_package_explains(raw: Raw) -> None:
    flip(captured(raw)["native"], "libgomp.so.1")


@plant("native numpy/openblas", DOWNGRADED, expires_all=False)
def a_blas_inside_a_wheel(raw: Raw) -> None:
    captured(raw)["native"]["numpy/openblas"] = "0.3.27.0.0"


@plant("runtime dispatch.numpy", CHANGED)
def kernels_that_numpy_selects(raw: Raw) -> None:
    captured(raw)["cpu"]["dispatch"]["numpy"] = "X86_V3"


@plant("image layers/wheel:scipy", CHANGED, *IMAGE)
def a_layer_that_its_wheel_does_not_explain(raw: Raw) -> None:
    rebuild(raw, "wheel:scipy")


@plant("image manifest", CHANGED)
def a_manifest_that_nothing_explains(raw: Raw) -> None:
    flip(raw["sources"]["image"], "manifest")


@plant("image builder", CHANGED, "image layers/debian", *IMAGE)
def a_builder(raw: Raw) -> None:
    raw["sources"]["builder"] += 1
    raw["sources"]["image"]["builder"] += 1
    rebuild(raw, "debian")


@plant("variable LANG", CHANGED, "image variables/LANG", "lock variables", *IMAGE)
def a_variable_of_the_image(raw: Raw) -> None:
    raw["survey"]["variables"]["LANG"] = raw["sources"]["variables"]["LANG"] = "de_CH.UTF-8"
    flip(raw["sources"]["image"], "config")
    flip(raw["sources"]["image"], "manifest")
    rebuild(raw, lock="variables")


@plant("spec users/harness/uid", CHANGED, "spec digest", "image layers/configuration", *IMAGE)
def a_user(raw: Raw) -> None:
    named(raw["sources"]["spec"]["users"], "harness")["uid"] = 1000
    rebuild(raw, "configuration", lock="spec")


@plant("spec files//etc/hosts", ADDED, "spec digest", "image layers/configuration", *IMAGE)
def a_file_of_the_spec(raw: Raw) -> None:
    raw["sources"]["spec"]["files"]["/etc/hosts"] = "127.0.0.1 localhost\n"
    rebuild(raw, "configuration", lock="spec")


@plant(
    "spec python.exclude/scipy/_lib/*", ADDED,
    "wheel scipy", "spec digest", "image layers/wheel:scipy", *IMAGE,
)  # fmt: skip
def files_left_out_of_a_wheel(raw: Raw) -> None:
    raw["sources"]["spec"]["python"]["exclude"].append("scipy/_lib/*")
    flip(captured(raw)["libraries"]["scipy"], "digest")
    rebuild(raw, "wheel:scipy", lock="spec")


@plant(
    "spec python.requirements/numpy", CHANGED,
    "spec digest", "lock python.txt", "lock python.txt/inputs", expires_all=False,
)  # fmt: skip
def a_requirement(raw: Raw) -> None:
    requirements = raw["sources"]["spec"]["python"]["requirements"]
    requirements[requirements.index("numpy")] = "numpy>=2"
    flip(raw["sources"]["python"], "inputs")
    rebuild(raw, lock="python.txt")
    rebuild(raw, lock="spec")


@plant(
    "wheel xgboost-cpu", UPGRADED, "lock python.txt", "image layers/wheel:xgboost-cpu",
    "native xgboost_cpu/openmp", "runtime settings.xgboost_cpu/openmp.threads", *IMAGE,
)  # fmt: skip
def a_wheel_that_brings_a_thread_pool(raw: Raw) -> None:
    wheel(raw, "xgboost-cpu", "9.9.9")
    captured(raw)["native"]["xgboost_cpu/openmp"] = "present"
    captured(raw)["settings"]["xgboost_cpu/openmp.threads"] = "1"
    rebuild(raw, "wheel:xgboost-cpu", lock="python.txt")


@plant("lock debian.lock/snapshot", CHANGED, "lock debian.lock", expires_all=False)
def a_snapshot(raw: Raw) -> None:
    raw["sources"]["debian"]["snapshot"] = "20270101T000000Z"
    rebuild(raw, lock="debian.lock")


@plant("lock image.lock/python.txt", ADDED, expires_all=False)
def an_image_lock_of_other_inputs(raw: Raw) -> None:
    flip(raw["sources"]["image"]["inputs"], "python.txt")


@plant("probe numpy/exp64", CHANGED)
def a_kernel_of_the_probe(raw: Raw) -> None:
    flip(captured(raw)["probe"]["numpy"], "exp64")


@plant("probe xgboost/logistic.leaves", REMOVED, expires_all=False)
def a_kernel_that_is_probed_no_more(raw: Raw) -> None:
    del captured(raw)["probe"]["xgboost"]["logistic.leaves"]


@pytest.fixture(scope="module")
def rules() -> Rules:
    return load_rules(ROOT / "nowhere")


@pytest.fixture
def real_golden(golden: Callable[..., Golden]) -> Callable[[EnvironmentState], Golden]:
    """A golden run whose cells are signed as a trainer signs them."""

    def make(of: EnvironmentState) -> Golden:
        assert of.survey is not None
        probe, run = of.survey.captured.probe, golden(of)
        cells = [
            msgspec.structs.replace(
                cell,
                group={**cell.group, "probe_signature": signature({n: probe[n] for n in ("numpy", cell.family)})},
            )
            for cell in run.cells
        ]
        return msgspec.structs.replace(run, cells=tuple(cells))

    return make


def cell(golden: Golden, index: int = 0, **fields: Any) -> GoldenCell:
    of = golden.cells[index]
    same: dict[str, Any] = {
        "experiment": golden.experiment, "target": of.target, "view": of.view, "symbol": of.symbol,
        "family": of.family, "answer": Answer.UNCHANGED, "before": of.fingerprint, "after": of.fingerprint,
    }  # fmt: skip
    return GoldenCell(**same | fields)


def repeated(golden: Golden) -> list[GoldenCell]:
    """Every cell, with the same bits."""
    return [cell(golden, index) for index in range(len(golden.cells))]


def moved(golden: Golden, index: int = 0, **fields: Any) -> GoldenCell:
    of = golden.cells[index].fingerprint
    return cell(golden, index, answer=Answer.CHANGED, after=Digest(other(of)), **fields)


def altered(state: EnvironmentState, change: Callable[[Raw], None]) -> EnvironmentState:
    raw = msgspec.json.decode(msgspec.json.encode(state))
    change(raw)
    return msgspec.convert(raw, EnvironmentState)


def drift(before: EnvironmentState, after: EnvironmentState, rules: Rules, **fields: Any) -> EnvironmentDrift:
    given: dict[str, Any] = {
        "code": (CODE, CODE), "goldens": (), "golden_cells": (), "golden_not_tested": (), "measured_at": None,
        "stored": lambda group: (), "root": ROOT,
    }  # fmt: skip
    return assess(before, after, rules=rules, **given | fields)


def roots(found: EnvironmentDrift) -> list[tuple[str, Kind]]:
    return [(change.name, change.kind) for change in found.changes if not change.follows_from]


def with_gpu(raw: Raw) -> None:
    captured(raw)["gpu"] = msgspec.to_builtins(GPU)


def before_and_after(name: str, state: EnvironmentState) -> tuple[EnvironmentState, EnvironmentState]:
    before = altered(state, with_gpu) if PLANTS[name].gpu else state
    return before, altered(before, PLANTS[name].change)


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_change_is_the_one_root_and_all_else_follows_from_it(name, state, rules):
    planted = PLANTS[name]
    found = drift(*before_and_after(name, state()), rules)
    assert roots(found) == [(planted.root, planted.kind)]
    follows = {change.name: change.follows_from for change in found.changes if change.follows_from}
    assert follows == dict.fromkeys(planted.consequences, (planted.root,))


@pytest.mark.parametrize("name", PLANTS)
def test_what_expires_by_the_changes_is_what_expires_by_signing_the_candidate(name, state, real_golden, rules):
    before, after = before_and_after(name, state())
    golden = real_golden(before)
    found = drift(before, after, rules, goldens=[golden])
    assert after.survey is not None
    inside, image = after.survey.captured, after.sources.image
    reference = image and ImageReference(image.name, image.manifest, image.config)
    signed = environment_signature(inside, reference, after.profile)
    ended = {
        signature(cell.group)
        for cell in golden.cells
        if cell.group["environment_signature"] != signed
        or cell.group["probe_signature"] != signature({n: inside.probe[n] for n in ("numpy", cell.family)})
    }
    by_changes = {group for change in found.changes for group in change.expires}
    by_roots = {group for change in found.changes if not change.follows_from for group in change.expires}
    assert ended == by_changes == by_roots == {expired.group for expired in found.expired}
    if PLANTS[name].expires_all:
        assert len(ended) == len({signature(cell.group) for cell in golden.cells})


def test_every_layer_has_a_planted_change():
    beside = {Layer.CODE, Layer.GOLDEN}  # they are no part of a state
    assert {Layer(planted.root.partition(" ")[0]) for planted in PLANTS.values()} == set(Layer) - beside


def test_an_unchanged_environment_has_no_change_in_ten_checks(state, real_golden, rules):
    golden = real_golden(state())
    for _ in range(10):
        found = drift(state(), altered(state(), lambda raw: None), rules, goldens=[golden], golden_cells=[cell(golden)])
        assert (found.changes, found.expired, found.not_tested) == ((), (), ())
        assert (found.environment, found.numbers) == (Answer.UNCHANGED, Answer.UNCHANGED)
        assert found.tested_by == ("probe", "golden")


def test_a_golden_fingerprint_that_nothing_explains_is_a_root(state, real_golden, rules):
    golden = real_golden(state())
    found = drift(state(), state(), rules, goldens=[golden], golden_cells=[moved(golden)])
    assert roots(found) == [("golden determinism_test/fwd_ret_10d/CROSS_SECTIONAL/all/lightgbm", CHANGED)]
    assert (found.environment, found.numbers) == (Answer.UNCHANGED, Answer.CHANGED)
    assert found.changes[0].severity is Severity.CRITICAL


def test_changed_code_is_named_and_only_a_golden_run_can_clear_it(state, real_golden, rules):
    golden, code = real_golden(state()), (CODE, Digest(other(CODE)))
    found = drift(state(), state(), rules, code=code)
    assert roots(found) == [("code inside", CHANGED)]
    assert found.numbers is Answer.NOT_TESTED
    assert [item.what for item in found.not_tested] == ["numbers behind code inside"]
    some = drift(state(), state(), rules, code=code, goldens=[golden], golden_cells=[cell(golden)])
    assert some.numbers is Answer.NOT_TESTED
    cleared = drift(state(), state(), rules, code=code, goldens=[golden], golden_cells=repeated(golden))
    assert (cleared.numbers, cleared.not_tested) == (Answer.UNCHANGED, ())


def test_a_kernel_follows_from_the_wheel_that_can_move_it(state, rules):
    def change(raw: Raw) -> None:
        wheel(raw, "numpy", "9.9.9")
        flip(captured(raw)["probe"]["numpy"], "exp64")

    found = drift(state(), altered(state(), change), rules)
    assert roots(found) == [("wheel numpy", UPGRADED)]
    by_name = {change.name: change for change in found.changes}
    assert by_name["probe numpy/exp64"].follows_from == ("wheel numpy",)
    assert (by_name["wheel numpy"].numbers, by_name["wheel numpy"].evidence) == (Answer.CHANGED, ("numpy/exp64",))
    assert found.numbers is Answer.CHANGED


def test_a_kernel_does_not_follow_from_a_wheel_that_cannot_move_it(state, rules):
    def change(raw: Raw) -> None:
        wheel(raw, "lightgbm", "9.9.9")
        flip(captured(raw)["probe"]["scipy"], "erf")

    found = drift(state(), altered(state(), change), rules)
    assert roots(found) == [("wheel lightgbm", UPGRADED), ("probe scipy/erf", CHANGED)]
    assert found.changes[0].numbers is Answer.UNCHANGED


def test_a_golden_cell_that_the_old_environment_moves_too_does_not_follow_from_a_wheel(state, real_golden, rules):
    golden = real_golden(state())
    after = altered(state(), PLANTS["a_wheel_rebuilt_under_its_version"].change)
    elsewhere = moved(golden, because_of=ELSEWHERE)
    found = drift(state(), after, rules, goldens=[golden], golden_cells=[elsewhere])
    assert [name for name, _ in roots(found)] == ["wheel numpy", f"golden {elsewhere.path}"]
    inside = moved(golden, because_of=ENVIRONMENT)
    found = drift(state(), after, rules, goldens=[golden], golden_cells=[inside])
    assert [name for name, _ in roots(found)] == ["wheel numpy"]


def with_catboost(raw: Raw) -> None:
    """A library that computes and that no probe knows."""
    wheels = raw["sources"]["python"]["wheels"]
    wheels.append(named(wheels, "joblib") | {"name": "catboost"})
    captured(raw)["libraries"]["catboost"] = dict(captured(raw)["libraries"]["joblib"])


XGBOOST = "native xgboost_cpu/openmp"
"""A pool goes by the folder in which a wheel brings it, which is not called as the wheel is."""


def with_bundled_pool(raw: Raw) -> None:
    captured(raw)["native"]["xgboost_cpu/openmp"] = "present"
    captured(raw)["cpu"]["dispatch"]["xgboost_cpu/openblas"] = "SkylakeX"
    captured(raw)["settings"]["xgboost_cpu/openmp.threads"] = "1"


@pytest.mark.parametrize(("name", "explains"), [("xgboost-cpu", True), ("lightgbm", False)])
def test_a_pool_in_a_wheels_own_folder_follows_from_that_wheel_alone(name, explains, state, rules):
    def change(raw: Raw) -> None:
        wheel(raw, name, "9.9.9")
        with_bundled_pool(raw)

    pools = {XGBOOST, "runtime dispatch.xgboost_cpu/openblas", "runtime settings.xgboost_cpu/openmp.threads"}
    found = drift(state(), altered(state(), change), rules)
    assert dict(roots(found)).keys() == {f"wheel {name}"} | (set() if explains else pools)
    assert {change.name for change in found.changes} >= pools


@pytest.mark.parametrize(("severity", "kept"), [(Severity.NONE, False), (Severity.MINOR, True)])
def test_files_that_changed_fail_even_where_what_was_left_out_passes(severity, kept, state, rules):
    exclude = Rule(layer=Layer.SPEC, path="python.exclude/*", severity=severity, moves=Moves.NONE, why="-")
    after = altered(state(), PLANTS["files_left_out_of_a_wheel"].change)
    found = drift(state(), after, Rules((exclude, *rules.rules)))
    names = dict(roots(found))
    assert ("wheel scipy" not in names) is kept
    assert any(change.fails for change in found.changes)
    if not kept:
        assert names["wheel scipy"] is REBUILT
        assert next(change for change in found.changes if change.name == "wheel scipy").fails


def test_what_could_move_numbers_and_was_not_looked_at_is_not_tested(state, rules):
    before = altered(state(), with_catboost)
    found = drift(before, altered(before, lambda raw: wheel(raw, "catboost", "9.9.9")), rules)
    assert (found.changes[0].numbers, found.numbers) == (Answer.NOT_TESTED, Answer.NOT_TESTED)
    assert [item.what for item in found.not_tested] == ["numbers behind wheel catboost"]
    assert "catboost: check with --golden" in found.not_tested[0].reason
    assert found.unprobed == ("catboost",)


UPGRADE = ("numbers behind wheel catboost", lambda raw: wheel(raw, "catboost", "9.9.9"))
OPENMP = ("numbers behind os-package libgomp1", lambda raw: PLANTS["an_os_library_upgraded"].change(raw))


def saying(moves: Any, rules: Rules, **fields: Any) -> Rules:
    """The rules, asked after one on catboost."""
    raw = {"layer": "wheel", "path": "catboost", "severity": "major", "moves": moves, "why": "-", **fields}
    return Rules((msgspec.convert(raw, Rule), *rules.rules))


@pytest.mark.parametrize("planted", [UPGRADE, OPENMP], ids=["upgrade", "openmp"])
@pytest.mark.parametrize("moves", ["own", "all", ["numpy"], ["numpy", "catboost"]], ids=str)
def test_what_no_probe_knows_is_not_tested_whatever_its_rule_lets_it_move(moves, planted, state, real_golden, rules):
    before, said = altered(state(), with_catboost), saying(moves, rules)
    what, change = planted
    after, golden = altered(before, change), real_golden(before)
    found = drift(before, after, said)
    assert (found.numbers, found.unprobed) == (Answer.NOT_TESTED, ("catboost",))
    assert [item.what for item in found.not_tested] == [what]
    assert "looks at catboost: check with --golden" in found.not_tested[0].reason
    cleared = drift(before, after, said, goldens=[golden], golden_cells=repeated(golden))
    assert (cleared.numbers, cleared.not_tested) == (Answer.UNCHANGED, ())


@pytest.mark.parametrize("planted", [UPGRADE, OPENMP], ids=["upgrade", "openmp"])
def test_what_moves_no_numbers_by_its_rule_leaves_nothing_untested(planted, state, rules):
    before = altered(state(), with_catboost)
    found = drift(before, altered(before, planted[1]), saying("none", rules))
    assert (found.numbers, found.not_tested, found.unprobed) == (Answer.UNCHANGED, (), ())


def test_a_rule_on_one_kind_of_change_does_not_say_that_a_wheel_computes_nothing(state, rules):
    before = altered(state(), with_catboost)
    found = drift(before, altered(before, OPENMP[1]), saying("none", rules, kinds=["upgraded"]))
    assert (found.numbers, found.unprobed) == (Answer.NOT_TESTED, ("catboost",))


def test_an_upgrade_that_no_probe_knows_is_cleared_by_all_golden_runs_and_by_no_part_of_them(state, real_golden, rules):
    before = altered(state(), with_catboost)
    after, golden = altered(before, lambda raw: wheel(raw, "catboost", "9.9.9")), real_golden(before)
    cleared = drift(before, after, rules, goldens=[golden], golden_cells=repeated(golden))
    assert (cleared.changes[0].numbers, cleared.numbers) == (Answer.UNCHANGED, Answer.UNCHANGED)
    assert cleared.not_tested == ()
    partly = drift(before, after, rules, goldens=[golden], golden_cells=repeated(golden)[1:])
    assert (partly.changes[0].numbers, partly.numbers) == (Answer.NOT_TESTED, Answer.NOT_TESTED)
    one = moved(golden, because_of=ENVIRONMENT)
    blamed = drift(before, after, rules, goldens=[golden], golden_cells=[one, *repeated(golden)[1:]])
    assert (blamed.changes[0].name, blamed.changes[0].numbers) == ("wheel catboost", Answer.CHANGED)
    assert blamed.changes[0].evidence == (one.path,)
    assert roots(blamed) == [("wheel catboost", UPGRADED)]


@pytest.mark.parametrize("name", ["scikit-learn", "scipy", "xgboost-cpu", "lightgbm"])
def test_an_upgrade_of_what_is_probed_is_tested_without_golden_runs(name, state, rules):
    found = drift(state(), altered(state(), lambda raw: wheel(raw, name, "9.9.9")), rules)
    assert (found.changes[0].numbers, found.numbers, found.not_tested) == (Answer.UNCHANGED, Answer.UNCHANGED, ())
    assert found.unprobed == ()


def test_what_can_move_every_number_is_cleared_only_where_every_library_was_looked_at(state, real_golden, rules):
    openmp = PLANTS["an_os_library_upgraded"].change
    assert drift(state(), altered(state(), openmp), rules).numbers is Answer.UNCHANGED
    before = altered(state(), with_catboost)
    found = drift(before, altered(before, openmp), rules)
    assert found.numbers is Answer.NOT_TESTED
    assert [item.what for item in found.not_tested] == ["numbers behind os-package libgomp1"]
    golden = real_golden(before)
    cleared = drift(before, altered(before, openmp), rules, goldens=[golden], golden_cells=repeated(golden))
    assert (cleared.numbers, cleared.not_tested) == (Answer.UNCHANGED, ())


def test_numbers_of_a_library_that_neither_sides_probe_looked_at_are_not_tested(state, rules):
    def blind(raw: Raw) -> None:
        captured(raw)["probe"] = {"python": captured(raw)["probe"]["python"]}

    before = altered(state(), blind)
    found = drift(before, altered(before, lambda raw: wheel(raw, "numpy", "9.9.9")), rules)
    assert (found.changes[0].numbers, found.numbers) == (Answer.NOT_TESTED, Answer.NOT_TESTED)
    same = drift(before, before, rules)
    assert (same.environment, same.numbers) == (Answer.UNCHANGED, Answer.NOT_TESTED)
    assert "numpy" in same.not_tested[0].what


def test_more_cores_excuse_no_thread_pool(state, rules):
    def change(raw: Raw) -> None:
        PLANTS["more_cores"].change(raw)
        captured(raw)["settings"] |= {"numpy/openblas.threads": "64", "threads": "64"}

    found = drift(state(), altered(state(), change), rules)
    failing = {change.name for change in found.changes if change.fails}
    assert failing == {"runtime settings.numpy/openblas.threads", "runtime settings.threads"}
    assert drift(*before_and_after("more_cores", state()), rules).changes[0].fails is False


def test_a_missing_image_lock_is_one_change_and_ends_nothing_yet(state, real_golden, rules):
    def change(raw: Raw) -> None:
        raw["sources"]["image"] = None

    golden, after = real_golden(state()), altered(state(), change)
    after = msgspec.structs.replace(after, survey=None, unsurveyed="image.lock is not there")
    found = drift(state(), after, rules, goldens=[golden])
    assert roots(found) == [("lock image.lock", REMOVED)]
    assert found.expired == ()  # the same image can be locked again
    host = msgspec.structs.replace(after, engine=EngineName.HOST)
    assert len(drift(state(), host, rules, goldens=[golden]).expired) == len(golden.cells)
    assert {change.name for change in found.changes} > {"image manifest", "image config", "image layers/debian"}
    assert [change.name for change in found.changes if change.fails] == ["lock image.lock"]


def test_a_plain_process_leaves_nothing_out_of_its_wheels(state, rules):
    host = {"name": "host", "engine": EngineName.HOST}

    def change(raw: Raw) -> None:
        raw["sources"]["spec"]["python"]["exclude"].append("scipy/_lib/*")

    before = state(**host)
    assert drift(before, altered(before, change), rules).changes == ()
    rebuilt = altered(altered(before, change), lambda raw: flip(captured(raw)["libraries"]["scipy"], "digest"))
    assert roots(drift(before, rebuilt, rules)) == [("wheel scipy", REBUILT)]


def test_what_cannot_move_numbers_has_no_answer_on_them(state, rules):
    found = drift(*before_and_after("more_memory", state()), rules)
    assert (found.changes[0].can_move_numbers, found.changes[0].numbers) == (False, None)
    assert (found.environment, found.numbers) == (Answer.CHANGED, Answer.UNCHANGED)


def test_an_environment_that_was_not_run_is_not_tested_and_loses_nothing(state, rules):
    after = state(survey=None, unsurveyed="there is no GPU")
    for one, two in ((state(), after), (after, state())):
        found = drift(one, two, rules)
        assert found.changes == ()
        assert (found.environment, found.numbers) == (Answer.NOT_TESTED, Answer.NOT_TESTED)
        assert found.tested_by == ()
        assert "there is no GPU" in found.not_tested[0].reason


def test_without_a_survey_what_the_locks_say_is_compared_all_the_same(state, real_golden, rules):
    golden = real_golden(state())
    changed = altered(state(), PLANTS["a_wheel_rebuilt_under_its_version"].change)
    after = msgspec.structs.replace(changed, survey=None, unsurveyed="no engine")
    found = drift(state(), after, rules, goldens=[golden])
    assert roots(found) == [("wheel numpy", REBUILT)]
    assert (found.environment, found.numbers) == (Answer.CHANGED, Answer.NOT_TESTED)
    assert len(found.expired) == len(golden.cells)


def test_a_golden_cell_without_an_answer_is_not_tested_and_said_once(state, real_golden, rules):
    golden = real_golden(state())
    untested = cell(golden, answer=Answer.NOT_TESTED, after=None, reasons=("no data",))
    found = drift(state(), state(), rules, goldens=[golden], golden_cells=[untested])
    assert found.not_tested == (NotTested(f"golden {untested.path}", "no data"),)
    assert found.tested_by == ("probe",)
    said = NotTested(f"golden {untested.path}", "the data is gone")
    found = drift(
        state(), state(), rules, goldens=[golden], golden_cells=[untested], golden_not_tested=[said]
    )  # fmt: skip
    assert found.not_tested == (said,)


def test_a_wheel_that_was_itself_rebuilt_does_not_follow_from_files_left_out(state, rules):
    def change(raw: Raw) -> None:
        PLANTS["files_left_out_of_a_wheel"].change(raw)
        wheel(raw, "scipy")

    found = drift(state(), altered(state(), change), rules)
    assert ("wheel scipy", REBUILT) in roots(found)


def test_changes_come_in_the_order_of_layers_then_paths(state, rules):
    def change(raw: Raw) -> None:
        for name in ("a_kernel_of_the_probe", "an_os_library_upgraded", "a_kernel", "a_user", "a_wheel_upgraded"):
            PLANTS[name].change(raw)

    found = drift(state(), altered(state(), change), rules)
    order = list(Layer)
    places = [(order.index(change.layer), change.path) for change in found.changes]
    assert places == sorted(places)
    assert {name for name, _ in roots(found)} == {
        "os-package libgomp1", "kernel release", "spec users/harness/uid", "wheel torch",
    }  # fmt: skip


def test_a_fingerprint_is_that_of_the_change_and_of_nothing_else(state, rules):
    one = drift(*before_and_after("a_wheel_upgraded", state()), rules).changes
    both = altered(altered(state(), PLANTS["a_wheel_upgraded"].change), PLANTS["a_kernel"].change)
    two = drift(state(), both, rules).changes
    assert {change.fingerprint for change in one} < {change.fingerprint for change in two}
    assert len({change.fingerprint for change in two}) == len(two)


def test_two_candidates_changes_stay_apart_and_the_namesakes_are_its_own(state, rules):
    before, after = before_and_after("a_kernel", state())
    found = {
        name: drift(before, msgspec.structs.replace(after, name=name), rules).changes[0].fingerprint
        for name in ("cpu", "cpu-prev", "cuda")
    }
    assert len(set(found.values())) == 3
    assert found["cpu"] == drift(before, after, rules).changes[0].fingerprint


def test_stored_runs_stand_with_the_group_that_expired(state, real_golden, rules):
    golden = real_golden(state())
    wanted = signature(golden.cells[0].group)
    found = drift(
        *before_and_after("another_cpu", state()),
        rules,
        goldens=[golden],
        stored=lambda group: ("run-1", "run-2") if group == wanted else (),
    )
    assert {expired.group: expired.stored_runs for expired in found.expired}[wanted] == ("run-1", "run-2")


LABELS = {"name", "schema", "unsurveyed"}
IMPLIED = {"image_digest"}  # it is over the image's lock, each part of which is looked at itself


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, msgspec.Struct):
        pairs = [(name, getattr(value, name)) for name in value.__struct_fields__]
        return [
            leaf for name, item in pairs if len(path) > 1 or name not in LABELS for leaf in leaves(item, (*path, name))
        ]
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, tuple):
        return [leaf for index, item in enumerate(value) for leaf in leaves(item, (*path, index))]
    return [] if value is None or path[-1] in {"schema", *IMPLIED} or path[-2:] == ("image", "name") else [path]


def mutated(value: Any, path: tuple[Any, ...]) -> Any:
    """The value with its leaf at `path` changed; nothing is validated, so any leaf can be."""
    if not path:
        if hasattr(type(value), "__members__"):
            return next(member for member in type(value) if member is not value)
        return value + 1 if isinstance(value, int) else f"{value}x"
    first, rest = path[0], path[1:]
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **{first: mutated(getattr(value, first), rest)})
    if isinstance(value, dict):
        return {**value, first: mutated(value[first], rest)}
    return tuple(mutated(item, rest) if index == first else item for index, item in enumerate(value))


def with_base(state: EnvironmentState) -> EnvironmentState:
    """The state with all that only some specs have: a base, and a package that is left out."""
    one, two = (Digest(f"sha256:{digit * 64}") for digit in "12")
    layers = (BaseLayer(one, 512, two), BaseLayer(two, 1024, one))
    base = BaseImage(manifest=one, config=two, architecture="amd64", variables={"LANG": "C"}, layers=layers)
    sources = state.sources
    python = msgspec.structs.replace(sources.spec.python, without={"nccl": "another brings its files"})
    spec = msgspec.structs.replace(sources.spec, python=python, base=f"archive:base.tar@{one}")
    image = msgspec.structs.replace(sources.image, base=base)
    return msgspec.structs.replace(state, sources=msgspec.structs.replace(sources, spec=spec, image=image))


def test_any_leaf_of_a_base_and_of_what_is_left_out_is_reported(state, rules):
    before = with_base(state())
    paths = [path for path in leaves(before) if "without" in path or "base" in path]
    assert len(paths) == 12
    for path in paths:
        found = drift(before, mutated(before, path), rules)
        assert found.changes, path
        assert roots(found), path


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_leaf_that_changes_is_reported_and_has_a_root(data, state, rules):
    before = with_base(altered(state(), with_gpu))
    path = data.draw(st.sampled_from(leaves(before)))
    found = drift(before, mutated(before, path), rules)
    assert found.changes, path
    assert roots(found), path
    for change in found.changes:
        assert change.before != change.after, path
        assert set(change.follows_from) <= {name for name, _ in roots(found)}, path
