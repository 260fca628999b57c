import msgspec
import pytest

from harness.record.environment import environment_signature
from harness.record.hashing import signature
from harness.release.changes import simple
from harness.release.expiry import Expiry
from harness.release.numbers import used_libraries
from harness.release.report import Layer
from harness.runs.opening import EngineName
from harness.spec.digest import digest_from_hex
from harness.spec.run import ImageReference, Profile

replace = msgspec.structs.replace
OTHER = digest_from_hex("e" * 64)


def inside(state, **fields):
    return replace(state, survey=replace(state.survey, captured=replace(state.survey.captured, **fields)))


def moved(state, library):
    probe = state.survey.captured.probe
    return inside(state, probe={**probe, library: dict.fromkeys(probe[library], OTHER)})


@pytest.fixture
def run(golden, state):
    """A golden run with real probe signatures."""

    def make(of=None):
        of = of or state()
        probe, run = of.survey.captured.probe, golden(of)
        return replace(
            run,
            cells=tuple(
                replace(c, group={**c.group, "probe_signature": signature({n: probe[n] for n in ("numpy", c.family)})})
                for c in run.cells
            ),
        )

    return make


def expiry(before, after, run):
    probe = {} if before.survey is None else before.survey.captured.probe
    return Expiry(before, after, [run], used_libraries([run], probe))


def ended(before, after, run, attributed=()):
    return {expired.golden.rpartition("/")[2] for expired in expiry(before, after, run).total(lambda _: (), attributed)}


def families(run, groups):
    return {cell.family for cell in run.cells if signature(cell.group) in groups}


def test_a_kernel_ends_the_groups_of_the_families_that_use_its_library(state, run):
    after = moved(state(), "xgboost")
    found = expiry(state(), after, run()).of(simple(Layer.PROBE, "xgboost/logistic.leaves", OTHER, None))
    assert families(run(), found) == {"xgboost"} == ended(state(), after, run())


def test_a_kernel_of_numpy_ends_all(state, run):
    after = moved(state(), "numpy")
    found = expiry(state(), after, run()).of(simple(Layer.PROBE, "numpy/exp64", OTHER, None))
    assert families(run(), found) == {"lightgbm", "xgboost"} == ended(state(), after, run())


def test_a_kernel_that_no_family_uses_ends_none(state, run):
    after = moved(state(), "torch")
    assert not expiry(state(), after, run()).of(simple(Layer.PROBE, "torch/mm32", OTHER, None))
    assert not ended(state(), after, run())


def test_what_a_library_says_of_itself_ends_groups_only_where_its_kernels_moved(state, run):
    native = {**state().survey.captured.native, "numpy/openblas": "0.3.27"}
    change = simple(Layer.NATIVE, "numpy/openblas", "0.3.31.188.0", "0.3.27")
    still, after = inside(state(), native=native), inside(moved(state(), "numpy"), native=native)
    assert not expiry(state(), still, run()).of(change)
    assert families(run(), expiry(state(), after, run()).of(change)) == {"lightgbm", "xgboost"}
    owned = simple(Layer.RUNTIME, "settings.numpy/openblas.threads", "1", "2")
    assert families(run(), expiry(state(), after, run()).of(owned)) == {"lightgbm", "xgboost"}


@pytest.mark.parametrize(
    "change",
    [
        simple(Layer.KERNEL, "release", "1", "2"),
        simple(Layer.KERNEL, "engine.version", "1", "2"),
        simple(Layer.HARDWARE, "memory", "1", "2"),
        simple(Layer.HARDWARE, "cpu.model_name", "1", "2"),
        simple(Layer.VARIABLE, "OMP_NUM_THREADS", "1", "2"),
        simple(Layer.CODE, "inside", "1", "2"),
        simple(Layer.OS_PACKAGE, "bash", "1", "2"),
        simple(Layer.IMAGE, "layers/debian", "1", "2"),
        simple(Layer.GOLDEN, "e/t/v/all/lightgbm", "1", "2"),
    ],
)
def test_what_the_signature_does_not_cover_ends_none_by_itself(change, state, run):
    survey = state().survey
    after = replace(
        inside(
            state(),
            host={"kernel": "Linux 9.9"},
            cpu=replace(survey.captured.cpu, model_name="another"),
            settings={**survey.captured.settings, "OMP_NUM_THREADS": "2"},
        )
    )
    assert not expiry(state(), after, run()).of(change)
    assert not ended(state(), after, run())


def test_another_cpu_of_the_same_level_ends_nothing_under_the_portable_profile(state, run):
    change = simple(Layer.HARDWARE, "cpu.model", "17", "1")
    for profile, all_end in ((Profile.NATIVE, True), (Profile.X86_64_V3, False)):
        before = state(profile=profile)
        after = inside(before, cpu=replace(before.survey.captured.cpu, model="1"))
        assert bool(expiry(before, after, run(before)).of(change)) is all_end
        assert bool(ended(before, after, run(before))) is all_end


def test_another_profile_ends_all(state, run):
    after = state(profile=Profile.X86_64_V3)
    found = expiry(state(), after, run()).of(simple(Layer.RUNTIME, "profile", "native", "x86-64-v3"))
    assert families(run(), found) == {"lightgbm", "xgboost"} == ended(state(), after, run())


def test_a_plain_process_signs_no_image(state, run):
    host = state(engine=EngineName.HOST)
    assert ended(state(), host, run()) == {"lightgbm", "xgboost"}
    captured, image = host.survey.captured, host.sources.image
    plain = environment_signature(captured, None, host.profile)
    within = run(host)
    cells = tuple(replace(c, group={**c.group, "environment_signature": plain}) for c in within.cells)
    assert not ended(host, host, replace(within, cells=cells))
    assert plain != environment_signature(captured, ImageReference("cpu", image.manifest, image.config), host.profile)


def test_without_a_survey_the_manifest_says_what_ends(state, run):
    image = replace(state().sources.image, manifest=OTHER)
    after = state(survey=None, sources=replace(state().sources, image=image))
    change = simple(Layer.IMAGE, "manifest", state().sources.image.manifest, OTHER)
    groups = expiry(state(), after, run()).of(change)
    assert families(run(), groups) == {"lightgbm", "xgboost"} == ended(state(), after, run(), groups)
    assert not ended(state(), state(survey=None), run())


def test_a_family_whose_libraries_nobody_knows_ends_with_any_kernel(state, golden):
    strange = golden()
    strange = replace(strange, cells=(replace(strange.cells[0], family="my_own"),))
    after = moved(state(), "torch")
    change = simple(Layer.PROBE, "torch/mm32", OTHER, None)
    groups = expiry(state(), after, strange).of(change)
    assert ended(state(), after, strange, groups) == {"my_own"}
    assert not ended(state(), state(), strange)
