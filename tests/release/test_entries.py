from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from harness.record.environment import Library
from harness.release.entries import SURVEYED, Entry, Scheme, flatten, requirement_name
from harness.release.report import NUMBERS, Layer
from harness.release.state import EnvironmentState
from harness.runs.opening import EngineName

replace = msgspec.structs.replace


def of(state: EnvironmentState, layer: Layer, *, surveyed: bool = True) -> dict[str, Entry]:
    return {path: entry for (where, path), entry in flatten(state, surveyed=surveyed).items() if where is layer}


def with_captured(state: EnvironmentState, **fields: Any) -> EnvironmentState:
    assert state.survey is not None
    return replace(state, survey=replace(state.survey, captured=replace(state.survey.captured, **fields)))


def test_every_layer_of_an_environment_has_entries_but_those_that_it_has_nothing_of(state):
    found = {layer for layer, _ in flatten(state(), surveyed=True)}
    assert found == set(Layer) - NUMBERS - {Layer.CODE, Layer.DRIVER}


def test_without_a_survey_only_what_the_locks_say_is_there(state):
    layers = {layer for layer, _ in flatten(state(), surveyed=False)}
    assert layers & SURVEYED == {Layer.KERNEL, Layer.RUNTIME}
    assert [path for layer, path in flatten(state(), surveyed=False) if layer in SURVEYED] == ["engine", "profile"]
    assert flatten(state(), surveyed=False) == flatten(state(survey=None), surveyed=True)


def test_a_package_tells_the_whole_record_of_each_of_its_scripts(state):
    package = next(package for package in state().sources.debian.packages if package.scripts)
    details = of(state(), Layer.OS_PACKAGE)[package.name].details
    for script in package.scripts:
        assert msgspec.json.decode(details[f"script {script.name}"], type=type(script)) == script


def test_a_wheel_is_one_entry_of_what_is_locked_and_installed(state):
    numpy = of(state(), Layer.WHEEL)["numpy"]
    locked = next(wheel for wheel in state().sources.python.wheels if wheel.name == "numpy")
    installed = state().survey.captured.libraries["numpy"]
    assert (numpy.value, numpy.scheme) == (locked.version, Scheme.PYTHON)
    assert numpy.facts == {"wheel": locked.digest, "files": installed.digest}
    assert f"numpy-{locked.version}-{numpy.details['tags']}" == locked.filename


@pytest.mark.parametrize(
    ("installed", "facts"),
    [
        ({}, {"installed": "nothing"}),
        ({"numpy": Library("1.0", None)}, {"files": "without RECORD", "installed": "1.0"}),
    ],
)
def test_a_wheel_that_is_not_installed_as_locked_says_so(state, installed, facts):
    numpy = of(with_captured(state(), libraries=installed), Layer.WHEEL)["numpy"]
    assert {name: value for name, value in numpy.facts.items() if name != "wheel"} == facts


def test_a_wheel_that_is_not_locked_says_so(state):
    libraries = {**state().survey.captured.libraries, "stowaway": Library("1.0", None)}
    stowaway = of(with_captured(state(), libraries=libraries), Layer.WHEEL)["stowaway"]
    assert stowaway == Entry("1.0", Scheme.PYTHON, {"locked": "nothing", "files": "without RECORD"})


def test_a_setting_that_is_a_variable_of_the_run_is_there_once(state):
    variables, runtime = of(state(), Layer.VARIABLE), of(state(), Layer.RUNTIME)
    assert "OMP_NUM_THREADS" in variables
    assert "settings.OMP_NUM_THREADS" not in runtime
    assert "settings.numpy/openblas.threads" in runtime
    settings = {**state().survey.captured.settings, "OMP_NUM_THREADS": "7"}
    contradicted = of(with_captured(state(), settings=settings), Layer.RUNTIME)
    assert contradicted["settings.OMP_NUM_THREADS"].value == "7"


def test_instruction_sets_belong_to_the_hardware_and_what_libraries_took_to_the_runtime(state):
    assert "cpu.isa" in of(state(), Layer.HARDWARE)
    runtime = of(state(), Layer.RUNTIME)
    assert "dispatch.numpy" in runtime
    assert "dispatch.isa" not in runtime


def test_the_lists_of_a_spec_are_sets(state):
    sources = state().sources
    python = replace(sources.spec.python, requirements=sources.spec.python.requirements[::-1])
    spec = replace(sources.spec, python=python, users=sources.spec.users[::-1])
    turned = state(sources=replace(sources, spec=spec))
    assert of(turned, Layer.SPEC) == of(state(), Layer.SPEC)
    paths = of(state(), Layer.SPEC)
    assert {"users/harness/uid", "debian.packages/bash", "python.requirements/numpy", "digest"} <= paths.keys()
    assert "files//etc/nsswitch.conf" in paths


@pytest.mark.parametrize(
    ("text", "name"),
    [("numpy", "numpy"), ("Torch==2.13.0+cpu", "torch"), ("a_b>=1; python_version>'3'", "a-b"), ("!", "!")],
)
def test_a_requirement_goes_by_its_normalised_name(text, name):
    assert requirement_name(text) == name


def test_two_requirements_of_one_name_are_one_entry(state):
    sources = state().sources
    python = replace(sources.spec.python, requirements=("numpy<3", "numpy>=2"))
    both = of(state(sources=replace(sources, spec=replace(sources.spec, python=python))), Layer.SPEC)
    assert both["python.requirements/numpy"].value == "numpy<3 | numpy>=2"


def test_a_plain_process_has_no_image_and_none_of_the_images_packages(state):
    layers = flatten(state(engine=EngineName.HOST), surveyed=True)
    assert not {layer for layer, _ in layers} & {Layer.IMAGE, Layer.OS_PACKAGE}
    assert not [path for layer, path in layers if layer is Layer.LOCK and not path.startswith("python.txt")]
    assert {path.partition(".")[0] for layer, path in layers if layer is Layer.SPEC} == {"python"}
    assert (Layer.WHEEL, "numpy") in layers


def test_an_image_lock_that_fits_its_inputs_has_no_entries_of_its_own(state):
    assert [path for path in of(state(), Layer.LOCK) if path.startswith("image.lock")] == ["image.lock"]
    image = state().sources.image
    stale = replace(image, inputs={**image.inputs, "python.txt": image.inputs["spec"]}, builder=99)
    found = of(state(sources=replace(state().sources, image=stale)), Layer.LOCK)
    assert found["image.lock/python.txt"].value == image.inputs["spec"]
    assert found["image.lock/builder"].value == "99"


def test_an_environment_without_an_image_lock_is_flattened(state: Callable[..., EnvironmentState]):
    image = of(state(sources=replace(state().sources, image=None)), Layer.IMAGE)
    assert "manifest" not in image
    assert "builder" in image
