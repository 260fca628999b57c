"""Environments out of baselines: the very files, and with them the very image."""

import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError, IntegrityError, UsageError
from harness.images.build import open_image
from harness.locking.check import check, input_digests
from harness.locking.imagelock import BUILDER_FORMAT
from harness.locking.imagespec import ImageSpec, load_image_spec, spec_digest
from harness.release.baseline import read_baseline, write_baseline
from harness.release.files import source_files
from harness.release.observe import sources
from harness.release.restore import restore, restored, why_not_now
from harness.release.state import Sources
from harness.spec.digest import Digest
from harness.spec.documents import parse_document

ROOT = Path(__file__).parents[2]
LOCKS = ("debian.lock", "python.txt", "image.lock")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LOOKALIKES = ("3.11", "1e3", "0o17", "null", "~", "yes", "true", "", "- a", "a: b", "#", "=", "<<", "2026-01-01", "!a")
NOTHING = Digest(f"sha256:{'0' * 64}")


def replaced(of: Sources, **fields: object) -> Sources:
    return msgspec.structs.replace(of, **fields)


def bare(of: Sources) -> Sources:
    return replaced(of, image=None, image_digest=None)


@pytest.mark.parametrize("name", ["cpu", "cpu-prev"])
def test_the_locks_come_back_byte_for_byte_and_the_spec_with_its_content(state, site, name):
    then = state(name=name, sources=sources(ROOT, name))
    with restored(then, site) as root:
        for lock in LOCKS:
            assert (root / "lockfiles" / name / lock).read_bytes() == (ROOT / "lockfiles" / name / lock).read_bytes()
        assert load_image_spec(root, name) == load_image_spec(ROOT, name)
        assert input_digests(root, load_image_spec(root, name)) == input_digests(ROOT, load_image_spec(ROOT, name))
        assert check(root, [name]) == []
    assert not root.exists()


@pytest.mark.parametrize("name", ["cpu", "cpu-prev"])
def test_what_was_written_and_read_again_is_restored_byte_for_byte(baseline, state, site, tmp_path, name):
    path = write_baseline(baseline(environments=[state(name=name, sources=sources(ROOT, name))], golden=()), site)
    for lock in restore(read_baseline(path), name, tmp_path / "then"):
        if lock.name in LOCKS:
            assert lock.read_bytes() == (ROOT / "lockfiles" / name / lock.name).read_bytes()
    with open_image(name, root=tmp_path / "then", store=site.store) as image:
        assert image.reference.manifest == read_baseline(path).environments[name].sources.image.manifest


def test_the_image_is_that_of_then_after_the_checkouts_locks_have_changed(state, site):
    shutil.copytree(ROOT / "docker", site.root / "docker")
    shutil.copytree(ROOT / "lockfiles" / "cpu", site.root / "lockfiles" / "cpu")
    then = state(sources=sources(site.root, "cpu"))
    shutil.rmtree(site.root / "lockfiles" / "cpu")
    with pytest.raises(HarnessError), open_image("cpu", root=site.root, store=site.store):
        pass
    with restored(then, site) as root, open_image("cpu", root=root, store=site.store) as image:
        assert image.reference.manifest == then.sources.image.manifest


def test_without_an_image_lock_none_is_written(state, site):
    with restored(state(name="host", sources=bare(sources(ROOT, "cpu"))), site) as root:
        assert sorted(path.name for path in (root / "lockfiles/cpu").iterdir()) == ["debian.lock", "python.txt"]


@pytest.mark.parametrize("what", ["spec", "debian.lock", "python.txt", "variables"])
def test_what_does_not_come_out_with_its_digest_is_refused_and_nothing_is_left(state, site, cpu_sources, what):
    broken = replaced(cpu_sources, digests={**cpu_sources.digests, what: NOTHING})
    with pytest.raises(IntegrityError, match=what), restored(state(sources=broken), site):
        pass
    assert not list(site.store.temporary.iterdir())


def test_an_image_lock_that_is_not_the_one_of_then_is_refused(cpu_sources):
    source_files(cpu_sources)
    source_files(bare(cpu_sources))
    other = msgspec.structs.replace(cpu_sources.image, manifest=NOTHING)
    for fields in ({"image_digest": NOTHING}, {"image_digest": None}, {"image": None}, {"image": other}):
        with pytest.raises(IntegrityError, match=r"image\.lock kept of the image cpu"):
            source_files(replaced(cpu_sources, **fields))


def test_an_additional_digest_is_refused(cpu_sources):
    with pytest.raises(IntegrityError, match="more"):
        source_files(replaced(cpu_sources, digests={**cpu_sources.digests, "more": NOTHING}))


def test_a_spec_that_could_not_be_read_back_is_refused(cpu_sources):
    spec = msgspec.structs.replace(cpu_sources.spec, name="Not A Name")
    digests = {**cpu_sources.digests, "spec": spec_digest(spec)}
    with pytest.raises(IntegrityError, match="makes no sense"):
        source_files(replaced(cpu_sources, spec=spec, digests=digests))


@settings(max_examples=60, deadline=None)
@given(files=st.dictionaries(TEXT, TEXT), globs=st.lists(st.sampled_from(LOOKALIKES), max_size=4))
def test_any_text_in_a_spec_comes_back_as_it_was(cpu_sources, files, globs):
    spec = cpu_sources.spec
    spec = msgspec.structs.replace(spec, files=files, debian=msgspec.structs.replace(spec.debian, exclude=tuple(globs)))
    of = replaced(cpu_sources, spec=spec, digests={**cpu_sources.digests, "spec": spec_digest(spec)})
    document = source_files(of)["docker/cpu.yaml"]
    assert parse_document(document.decode("ascii"), ImageSpec, "cpu.yaml") == spec


def test_a_folder_to_build_in_is_written(baseline, tmp_path):
    folder = tmp_path / "then"
    written = restore(baseline(), "cpu", folder)
    assert [path.relative_to(folder).as_posix() for path in written] == [
        "docker/cpu.yaml",
        "lockfiles/cpu/debian.lock",
        "lockfiles/cpu/image.lock",
        "lockfiles/cpu/python.txt",
    ]
    assert check(folder, ["cpu"]) == []


def test_a_folder_that_holds_something_is_left_alone(baseline, tmp_path):
    (tmp_path / "mine").touch()
    for place in (tmp_path, tmp_path / "mine"):
        with pytest.raises(UsageError, match="not an empty folder"):
            restore(baseline(), "cpu", place)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    assert restore(baseline(), "cpu", tmp_path / "empty")


def test_an_environment_that_the_baseline_does_not_hold_is_refused_with_those_it_does(baseline, tmp_path):
    with pytest.raises(UsageError, match="cuda") as refused:
        restore(baseline(), "cuda", tmp_path / "then")
    assert refused.value.hint == "There is: cpu."
    assert not (tmp_path / "then").exists()


def test_why_an_image_comes_out_otherwise_today_is_said(cpu_sources):
    assert why_not_now(cpu_sources) is None
    assert f"format 0, now {BUILDER_FORMAT}" in why_not_now(replaced(cpu_sources, builder=0))
    reason = why_not_now(replaced(cpu_sources, variables={**cpu_sources.variables, "LC_ALL": "C", "OLD": "1"}))
    assert "LC_ALL, OLD" in reason
