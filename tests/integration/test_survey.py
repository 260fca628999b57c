"""Surveys of the real environments: an image's in the real engine, and a plain process's."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.engines.docker import DockerEngine
from harness.release.observe import Observation, observe
from harness.release.site import Site
from harness.runs.survey import Survey
from harness.store.progress import SILENT
from harness.store.store import Store

pytestmark = pytest.mark.docker
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def look(docker_engine: DockerEngine) -> Callable[..., Observation]:
    """Observe an environment of this checkout, on the store that all commands use."""
    site = Site(root=ROOT, store=Store.default(), progress=SILENT)
    return lambda name, **options: observe(name, site, **options)


def survey_of(seen: Observation) -> Survey:
    assert seen.state.survey is not None, seen.state.unsurveyed
    return seen.state.survey


def test_an_unchanged_image_says_the_same_to_the_last_byte_and_a_plain_process_something_else(look) -> None:
    first, second, host = look("cpu", fresh=True), look("cpu", fresh=True), look("host")
    assert first.measured_at != second.measured_at
    assert msgspec.json.encode(first.state) == msgspec.json.encode(second.state)
    kept = look("cpu")
    assert kept == second

    inside, plain = survey_of(first).captured, survey_of(host).captured
    assert sorted(inside.probe) == ["lightgbm", "numpy", "python", "scipy", "sklearn", "torch", "xgboost"]
    assert {name: library.version for name, library in inside.libraries.items()} == {
        wheel.name: wheel.version for wheel in first.state.sources.python.wheels
    }
    assert first.state.sources.image is not None
    assert host.state.sources.image is None
    assert survey_of(first).engine["engine"] in ("docker", "podman")
    assert survey_of(host).engine["engine"] == "host"
    assert inside.cpu == plain.cpu
    # Of the image's wheels some lose their tests; LightGBM's has none, so its files are the same, whoever installs it.
    assert inside.libraries["lightgbm"] == plain.libraries["lightgbm"]
    assert {name: library.version for name, library in plain.libraries.items()} == {
        name: library.version for name, library in inside.libraries.items()
    }
    assert inside.python["executable"] != plain.python["executable"]
    assert survey_of(first).variables == survey_of(host).variables
