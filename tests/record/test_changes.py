from typing import Any

import msgspec
import pytest

from harness.record.changes import changed_keys, environment_changes, probe_changes, short
from harness.record.environment import Gpu, Library
from harness.record.snapshot import Snapshot
from harness.spec.digest import Digest
from harness.spec.run import ImageReference, Profile
from harness.spec.variables import thread_counts

OTHER = Digest(f"sha256:{'b' * 64}")
GPU = Gpu("H100", "9.0", 132, "580.1", {"cudnn": "9.1"})


def leaves(captured: Any, **overrides: dict[str, Any]) -> list[tuple[str, Any]]:
    """The capture with one thing changed, for every thing there is to change."""
    cpu, gpu = captured.cpu, captured.gpu
    found = [
        (f"cpu.{name}", {"cpu": msgspec.structs.replace(cpu, **{name: "other"})})
        for name in ("architecture", "vendor", "family", "model", "model_name")
    ]
    for name in ("isa", "numpy", "new", "torch/aten"):
        found.append((f"dispatch.{name}", {"cpu": msgspec.structs.replace(cpu, dispatch=cpu.dispatch | {name: "x"})}))
    for layer in ("python", "native", "settings", "host"):
        for name in (*getattr(captured, layer), "NEW_ONE", "torch/one"):
            found.append((f"{layer}.{name}", {layer: getattr(captured, layer) | {name: "other"}}))
    for name in (*captured.libraries, "new"):
        found.append((f"libraries.{name}", {"libraries": captured.libraries | {name: Library("9", None)}}))
    for name in ("name", "compute_capability", "driver"):
        found.append((f"gpu.{name}", {"gpu": msgspec.structs.replace(gpu, **{name: "other"})}))
    found.append(("gpu.multiprocessors", {"gpu": msgspec.structs.replace(gpu, multiprocessors=1)}))
    found.append(("gpu.libraries", {"gpu": msgspec.structs.replace(gpu, libraries={"cudnn": "10"})}))
    found.append(("gpu", {"gpu": None}))
    found.append(("probe", {"probe": {"numpy": {"exp": OTHER}}}))
    return [(name, msgspec.structs.replace(captured, **change)) for name, change in found]


@pytest.mark.parametrize("profile", list(Profile))
def test_whatever_changes_the_environments_signature_is_put_into_words_and_nothing_else_is(
    scene: Any, profile: Profile
) -> None:
    cpu = msgspec.structs.replace(scene.captured.cpu, dispatch={"isa": "avx2", "numpy": "X86_V4", "openblas": "Zen"})
    captured = msgspec.structs.replace(scene.captured, gpu=GPU, cpu=cpu)
    base = scene.but(captured=captured, profile=profile)
    before = base.snapshots()[0]
    scenes = [(name, base.but(captured=changed)) for name, changed in leaves(captured)]
    scenes.append(("image.manifest", base.but(image=ImageReference("cpu", OTHER, scene.image.config))))
    scenes.append(("image.config", base.but(image=ImageReference("cpu", scene.image.manifest, OTHER))))
    scenes.append(("image", base.but(image=None)))
    counted = set()
    for name, changed in scenes:
        after = changed.snapshots()[0]
        differs = signature_of(before) != signature_of(after)
        words = environment_changes(before.environment, after.environment, profile)
        assert bool(words) == differs, (name, words)
        assert len(words) == differs, (name, words)
        counted |= {name} if differs else set()
    assert {"python.version", "native.glibc", "libraries.numpy", "gpu.driver", "settings.PYTHONHASHSEED"} <= counted
    assert ("cpu.model" in counted) == (profile is Profile.NATIVE)
    assert not counted & {"host.kernel", "probe", "settings.OMP_NUM_THREADS", "image.config"}
    assert "OMP_NUM_THREADS" in thread_counts()


def signature_of(snapshot: Snapshot) -> str | int:
    return snapshot.comparison_group["environment_signature"]


def test_an_images_changed_inputs_are_named_beside_its_manifest(scene: Any) -> None:
    before = scene.snapshots()[0].environment
    image = msgspec.structs.replace(before.image, manifest=OTHER, locks={"python.txt": OTHER, "spec": OTHER})
    words = environment_changes(before, msgspec.structs.replace(before, image=image), Profile.NATIVE)
    assert [word.split(" → ")[0].rsplit(" ", 1)[0] for word in words] == [
        "image manifest",
        "image input python.txt",
        "image input spec",
    ]


def test_a_probe_that_moved_is_named_with_what_the_libraries_say_of_themselves(scene: Any) -> None:
    before = scene.snapshots()[0].environment
    cpu = msgspec.structs.replace(before.cpu, dispatch=before.cpu.dispatch | {"torch/aten": "AVX2"})
    after = msgspec.structs.replace(before, cpu=cpu, probe={"numpy": before.probe["numpy"] | {"exp": OTHER}})
    assert probe_changes(before, after) == ("probe numpy/exp", "dispatch torch/aten none → AVX2")
    assert probe_changes(before, before) == ()


def test_a_missing_field_and_a_field_of_another_type_differ() -> None:
    assert changed_keys({"a": 1}, {"a": 1}) == ()
    assert changed_keys({"a": 1}, {}) == ("a",)
    assert changed_keys({}, {"a": 1}) == ("a",)
    assert changed_keys({"a": 1}, {"a": "1"}) == ("a",)
    assert changed_keys({"a": 1}, {"a": True}) == ("a",)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "none"), (OTHER, "bbbbbbbb"), (42, "42"), ("x" * 61, "x" * 57 + "...")]
)
def test_values_are_shortened_for_people(value: object, text: str) -> None:
    assert short(value) == text
