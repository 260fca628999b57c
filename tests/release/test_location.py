from pathlib import Path

import pytest

from harness.release.changes import Difference, simple
from harness.release.location import locate
from harness.release.report import Layer, Location

ROOT = Path(__file__).parents[2]


def change(layer: Layer, path: str) -> Difference:
    return simple(layer, path, "1", "2")


@pytest.mark.parametrize(
    ("layer", "path", "file", "text"),
    [
        (Layer.WHEEL, "numpy", "lockfiles/cpu/python.txt", "numpy=="),
        (Layer.OS_PACKAGE, "libstdc++6", "lockfiles/cpu/debian.lock", '"name": "libstdc++6"'),
        (Layer.IMAGE, "manifest", "lockfiles/cpu/image.lock", '"manifest": '),
        (Layer.IMAGE, "builder", "lockfiles/cpu/image.lock", '"builder": '),
        (Layer.IMAGE, "layers/wheel:torch", "lockfiles/cpu/image.lock", '"name": "wheel:torch"'),
        (Layer.IMAGE, "variables/LANG", "lockfiles/cpu/image.lock", '"variables": '),
        (Layer.LOCK, "debian.lock/snapshot", "lockfiles/cpu/debian.lock", '"snapshot": '),
        (Layer.LOCK, "python.txt/inputs", "lockfiles/cpu/python.txt", "# inputs: "),
        (Layer.LOCK, "image.lock/spec", "lockfiles/cpu/image.lock", '"spec": '),
        (Layer.SPEC, "users/harness/uid", "docker/cpu.yaml", "name: harness"),
        (Layer.SPEC, "debian.packages/libgomp1", "docker/cpu.yaml", "- libgomp1"),
        (Layer.SPEC, "debian.suite", "docker/cpu.yaml", "suite: "),
        (Layer.SPEC, "python.requirements/torch", "docker/cpu.yaml", "- torch=="),
        (Layer.SPEC, "python.exclude/*/tests/*", "docker/cpu.yaml", '"*/tests/*"'),
        (Layer.SPEC, "files//etc/nsswitch.conf", "docker/cpu.yaml", "/etc/nsswitch.conf: "),
        (Layer.SPEC, "links//usr/bin/sh", "docker/cpu.yaml", "/usr/bin/sh: "),
        (Layer.SPEC, "postinst/bash", "docker/cpu.yaml", "bash: links"),
        (Layer.SPEC, "variant", "docker/cpu.yaml", "variant: "),
    ],
)
def test_a_change_is_located_in_the_line_that_shows_it(layer, path, file, text):
    found = locate(change(layer, path), ROOT, "cpu")
    assert found.file == file
    assert text in (ROOT / file).read_text().splitlines()[found.line - 1]


@pytest.mark.parametrize(
    ("layer", "path", "location"),
    [
        (Layer.WHEEL, "gone", Location("lockfiles/cpu/python.txt", None)),
        (Layer.OS_PACKAGE, "gone", Location("lockfiles/cpu/debian.lock", None)),
        (Layer.LOCK, "python.txt", Location("lockfiles/cpu/python.txt", None)),
        (Layer.SPEC, "digest", Location("docker/cpu.yaml", None)),
        (Layer.SPEC, "large_wheel", Location("docker/cpu.yaml", None)),
        (Layer.HARDWARE, "cpu.model", None),
        (Layer.KERNEL, "release", None),
        (Layer.VARIABLE, "TZ", None),
        (Layer.PROBE, "numpy/exp64", None),
        (Layer.CODE, "inside", None),
        (Layer.LOCK, "variables", None),
    ],
)
def test_what_has_no_line_has_the_file_or_nothing(layer, path, location):
    assert locate(change(layer, path), ROOT, "cpu") == location


def test_what_is_no_longer_in_a_spec_is_located_at_the_key_above_it():
    found = locate(change(Layer.SPEC, "debian.packages/gone"), ROOT, "cpu")
    assert (ROOT / found.file).read_text().splitlines()[found.line - 1] == "  packages:"


@pytest.mark.parametrize("layer", [Layer.WHEEL, Layer.OS_PACKAGE, Layer.IMAGE, Layer.SPEC])
def test_a_checkout_without_the_files_has_no_location(layer, tmp_path):
    assert locate(change(layer, "name"), tmp_path, "cpu") is None


def test_files_that_cannot_be_read_have_no_location(tmp_path):
    for name in ("lockfiles/cpu/python.txt", "docker/cpu.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"\xff: [")
    assert locate(change(Layer.WHEEL, "numpy"), tmp_path, "cpu") is None
    assert locate(change(Layer.SPEC, "variant"), tmp_path, "cpu") is None
