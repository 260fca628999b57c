"""Bundles: the same bytes whoever makes them, enough to build from, and never believed."""

import json
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from image_packages import Checkout, wheel

from harness.errors import HarnessError, IntegrityError, OutdatedLockError, UsageError
from harness.images import bundle as bundle_module
from harness.images import unbundle
from harness.images.build import build
from harness.images.bundle import INDEX, Vendored, document_paths, object_path, vendor
from harness.images.tar import END, Kind, header, padding
from harness.images.unbundle import build_from
from harness.locking import lockfile
from harness.locking import place as place_module
from harness.locking.imagelock import ImageLock
from harness.store import fetch as fetch_module
from harness.store.progress import SILENT
from harness.store.store import Store

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks anyone for an artifact."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("a bundle is enough")

    monkeypatch.setattr(fetch_module, "_addresses", refuse)


@pytest.fixture
def lock(checkout: Checkout) -> ImageLock:
    return build("tiny", root=checkout.root, store=checkout.store, update=True)


@pytest.fixture
def made(checkout: Checkout, lock: ImageLock, tmp_path: Path) -> Path:
    write(checkout, tmp_path / "tiny.bundle")
    return tmp_path / "tiny.bundle"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Store:
    return Store(tmp_path / "elsewhere")


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    """A folder that knows no image."""
    (tmp_path / "nothing").mkdir()
    return tmp_path / "nothing"


def write(checkout: Checkout, target: Path) -> Vendored:
    return vendor("tiny", target, root=checkout.root, store=checkout.store, progress=SILENT)


def objects(store: Store) -> set[str]:
    return {path.name for path in (store.home / "objects").rglob("*") if path.is_file()}


def test_a_bundle_is_enough_to_build_from(made: Path, lock: ImageLock, elsewhere: Store, nothing: Path) -> None:
    built = build_from(made, name=None, root=nothing, store=elsewhere, progress=SILENT)
    assert (built.lock, built.known, built.written) == (lock, False, ())
    for layer in lock.layers:
        elsewhere.verified_path(layer.digest)
    assert list(nothing.iterdir()) == []
    assert list(elsewhere.temporary.iterdir()) == []


def test_whoever_makes_it_writes_the_same_bytes(
    checkout: Checkout, lock: ImageLock, made: Path, tmp_path: Path
) -> None:
    other = Checkout(tmp_path / "other", Store(tmp_path / "other store"))
    other.debs, other.wheels = checkout.debs, checkout.wheels  # made a second later they would be other files
    other.write()
    assert build("tiny", root=other.root, store=other.store, update=True) == lock
    for path in other.root.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    before = os.umask(0o077)
    try:
        told = write(other, tmp_path / "other.bundle")
    finally:
        os.umask(before)
    assert (tmp_path / "other.bundle").read_bytes() == made.read_bytes()
    assert told.digest == write(checkout, tmp_path / "again.bundle").digest
    assert told.size == made.stat().st_size
    assert told.artifacts == 4


def test_another_tool_reads_it_and_finds_every_artifact_lock_and_spec(made: Path, checkout: Checkout) -> None:
    with tarfile.open(made, "r:") as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in archive.getmembers()} == {(0, 0, 0, "", 0o644)}
    index = json.loads(found.pop(INDEX))
    assert [entry["path"] for entry in index["files"]] == list(found)
    for path in document_paths("tiny"):
        assert found.pop(path) == (checkout.root / path).read_bytes()
    assert sorted(found.values()) == sorted([*checkout.debs.values(), *checkout.wheels.values()])


def test_a_lock_older_than_its_spec_is_not_bundled(checkout: Checkout, lock: ImageLock, tmp_path: Path) -> None:
    (checkout.root / "docker" / "tiny.yaml").write_text(checkout.spec.replace("hosts: files", "hosts: dns"))
    with pytest.raises(OutdatedLockError):
        write(checkout, tmp_path / "tiny.bundle")
    assert not (tmp_path / "tiny.bundle").exists()


def test_a_bundle_that_fails_half_way_leaves_the_one_before(
    checkout: Checkout, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made.read_bytes()

    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_module, "_chunks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(checkout, made)
    assert made.read_bytes() == before
    assert [path.name for path in made.parent.iterdir() if "bundle" in path.name] == ["tiny.bundle"]


@pytest.mark.parametrize("target", ["", "no/such/folder/tiny.bundle"])
def test_a_bundle_that_cannot_be_written_is_one_sentence(
    checkout: Checkout, lock: ImageLock, tmp_path: Path, target: str
) -> None:
    with pytest.raises(UsageError, match=r"is a folder|can't be written"):
        write(checkout, tmp_path / target)


def members(path: Path) -> Members:
    with tarfile.open(path, "r:") as archive:
        return [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]


def repacked(entries: Members) -> bytes:
    result = b""
    for info, data in entries:
        kind = Kind.SYMLINK if info.issym() else Kind.FILE
        result += header(info.name, kind, 0o644, size=len(data), target=info.linkname) + data + padding(len(data))
    return result + END


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info, b""


def named(name: str, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), data


def flipped(entries: Members, number: int) -> Members:
    info, data = entries[number]
    return [*entries[:number], (info, bytes([data[0] ^ 1]) + data[1:]), *entries[number + 1 :]]


def indexed(entries: Members, old: str, new: str) -> Members:
    info, data = entries[0]
    assert old.encode() in data
    return [(info, data.replace(old.encode(), new.encode(), 1)), *entries[1:]]


def test_repacking_alone_changes_nothing(made: Path) -> None:
    assert repacked(members(made)) == made.read_bytes()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(lambda all_: all_[:-1], "is missing from it", id="a file too few"),
        pytest.param(lambda all_: all_[:2] + all_[3:], "where lockfiles/tiny/debian.lock should be", id="no lock"),
        pytest.param(lambda all_: [*all_, named("more", b"x")], "holds a file 'more', which", id="a file too many"),
        pytest.param(lambda all_: [*all_, all_[-1]], "holds a file 'objects/.* does not name", id="a file twice"),
        pytest.param(lambda all_: [*all_[:5], all_[4], *all_[5:]], "where objects/sha256/", id="a file twice inside"),
        pytest.param(lambda all_: [*all_[:5], all_[6], all_[5], *all_[7:]], "where objects/", id="another order"),
        pytest.param(lambda all_: flipped(all_, 6), "objects/sha256/.* is altered", id="an altered artifact"),
        pytest.param(lambda all_: flipped(all_, 4), "python.txt in it is altered", id="an altered lock"),
        pytest.param(lambda all_: flipped(all_, 1), "docker/tiny.yaml in it is altered", id="an altered spec"),
        pytest.param(
            lambda all_: [*all_[:5], link(all_[5][0].name, "/etc/passwd"), *all_[6:]], "holds a link", id="a link"
        ),
        pytest.param(
            lambda all_: [all_[0], link("docker", "/etc"), *all_[1:]], "holds a link 'docker'", id="a link to a folder"
        ),
        pytest.param(
            lambda all_: [*all_[:5], named("../../evil", b"x"), *all_[5:]], "holds a file '../../evil'", id="traversal"
        ),
        pytest.param(lambda all_: [*all_[:5], named("/evil", b"x"), *all_[5:]], "'/evil'", id="an absolute path"),
        pytest.param(
            lambda all_: indexed(all_, '"docker/tiny.yaml"', '"docker/../../x"'), "does not hold docker/tiny.yaml",
            id="traversal in the index",
        ),
        pytest.param(
            lambda all_: indexed(all_, '"objects/sha256/', '"objects/sha256/../../'), "does not name its artifacts",
            id="an object elsewhere in the index",
        ),
        pytest.param(lambda all_: indexed(all_, '"image": "tiny"', '"image": "../x"'), "cannot be read", id="a name"),
        pytest.param(lambda all_: indexed(all_, '"files"', '"flies"'), "cannot be read", id="no files"),
        pytest.param(lambda all_: indexed(all_, "  ", ""), "not in the form", id="another form of the index"),
        pytest.param(
            lambda all_: indexed(all_, '"manifest": "sha256:', '"manifest": "sha256:' + "0" * 64 + '", "x": "'),
            "cannot be read", id="an unknown key",
        ),
    ],
)  # fmt: skip
def test_whatever_a_bundle_is_that_vendor_does_not_write_is_refused(
    made: Path, elsewhere: Store, nothing: Path, change: Callable[[Members], Members], problem: str
) -> None:
    right = {entry["digest"].removeprefix("sha256:") for entry in json.loads(members(made)[0][1])["files"]}
    made.write_bytes(repacked(change(members(made))))
    with pytest.raises(IntegrityError, match=problem):
        build_from(made, name=None, root=nothing, store=elsewhere, progress=SILENT)
    assert objects(elsewhere) <= right
    assert list(elsewhere.temporary.iterdir()) == []
    assert not list((elsewhere.home / "partial").iterdir())
    for name in objects(elsewhere):
        elsewhere.verified_path(f"sha256:{name}")  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.999])
def test_a_bundle_that_is_cut_off_is_refused(made: Path, elsewhere: Store, nothing: Path, share: float) -> None:
    data = made.read_bytes()
    made.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(IntegrityError, match="it is cut off"):
        build_from(made, name=None, root=nothing, store=elsewhere, progress=SILENT)


def test_what_follows_the_end_is_refused(made: Path, elsewhere: Store, nothing: Path) -> None:
    made.write_bytes(made.read_bytes() + END)
    with pytest.raises(IntegrityError, match="something follows its end"):
        build_from(made, name=None, root=nothing, store=elsewhere, progress=SILENT)


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 4096, bytes(10240), b"\x1f\x8b" + bytes(600)])
def test_a_file_that_is_no_bundle_is_refused(tmp_path: Path, elsewhere: Store, nothing: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is not a bundle"):
        build_from(path, name=None, root=nothing, store=elsewhere, progress=SILENT)
    for other in (tmp_path / "missing", nothing):
        with pytest.raises(UsageError, match="cannot be read"):
            build_from(other, name=None, root=nothing, store=elsewhere, progress=SILENT)
    path.write_bytes(repacked([named("etc/passwd", b"root")]))
    with pytest.raises(UsageError, match="is not a bundle"):
        build_from(path, name=None, root=nothing, store=elsewhere, progress=SILENT)
    assert objects(elsewhere) == set()


def test_locks_that_name_another_artifact_than_the_bundle_holds_are_refused(
    checkout: Checkout, made: Path, elsewhere: Store, nothing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle whose index is right about its members, and whose members are not what its locks need."""
    right = bundle_module.needed_objects
    more = checkout.store.put_bytes(b"more")
    monkeypatch.setattr(bundle_module, "needed_objects", lambda *words: right(*words)[1:])
    write(checkout, made)
    with pytest.raises(IntegrityError, match=r"does not hold sha256:.* which its locks name"):
        build_from(made, name=None, root=nothing, store=elsewhere, progress=SILENT)
    index, data = members(checkout_bundle(checkout, made, monkeypatch, right))[0], b"more"
    text = json.loads(index[1])
    text["files"].append({"path": object_path(more), "digest": more, "size": len(data)})
    changed = (json.dumps(text, indent=2) + "\n").encode()
    made.write_bytes(repacked([(index[0], changed), *members(made)[1:], named(object_path(more), data)]))
    with pytest.raises(IntegrityError, match="which its locks do not name"):
        build_from(made, name=None, root=nothing, store=elsewhere, progress=SILENT)
    assert objects(elsewhere) == set()


def checkout_bundle(checkout: Checkout, made: Path, monkeypatch: pytest.MonkeyPatch, right: object) -> Path:
    monkeypatch.setattr(bundle_module, "needed_objects", right)
    write(checkout, made)
    return made


def test_a_bundle_of_another_image_than_the_one_named_is_refused(made: Path, elsewhere: Store, nothing: Path) -> None:
    with pytest.raises(UsageError, match="is a bundle of the image tiny, not of cpu"):
        build_from(made, name="cpu", root=nothing, store=elsewhere, progress=SILENT)


def test_a_checkout_in_another_state_is_named_and_left_alone_unless_asked(
    checkout: Checkout, made: Path, lock: ImageLock, elsewhere: Store
) -> None:
    assert build_from(made, name="tiny", root=checkout.root, store=elsewhere, progress=SILENT).known
    wanted = {path: (checkout.root / path).read_bytes() for path in document_paths("tiny")}
    checkout.wheels["small"] = wheel("small", {"small/new.py": b"new"})
    checkout.write()
    before = {path: (checkout.root / path).read_bytes() for path in document_paths("tiny")}
    with pytest.raises(UsageError, match=r"has another python\.txt than"):
        build_from(made, name="tiny", root=checkout.root, store=elsewhere, progress=SILENT)
    assert {path: (checkout.root / path).read_bytes() for path in document_paths("tiny")} == before
    built = build_from(made, name="tiny", root=checkout.root, store=elsewhere, progress=SILENT, adopt=True)
    assert built.written == (checkout.folder / "python.txt",)
    assert {path: (checkout.root / path).read_bytes() for path in document_paths("tiny")} == wanted
    assert build("tiny", root=checkout.root, store=elsewhere) == lock


def test_a_checkout_without_the_image_takes_it_over_where_asked(
    made: Path, lock: ImageLock, elsewhere: Store, nothing: Path
) -> None:
    built = build_from(made, name=None, root=nothing, store=elsewhere, progress=SILENT, adopt=True)
    assert [str(path.relative_to(nothing)) for path in built.written] == list(document_paths("tiny"))
    assert build("tiny", root=nothing, store=elsewhere) == lock


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_error_in_the_middle_of_taking_a_bundle_over_leaves_what_was_there(
    checkout: Checkout, made: Path, elsewhere: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    paths = [checkout.root / path for path in document_paths("tiny")]
    checkout.wheels["small"] = wheel("small", {"small/new.py": b"new"})
    checkout.spec += "# another\n"
    checkout.write()
    paths[1].unlink()
    paths[2].write_text("not a lock")
    before = {path: path.read_bytes() for path in paths if path.exists()}
    real, calls = place_module.write_atomically, []

    def failing(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) == number:
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(place_module, "write_atomically", failing)
    with pytest.raises(KeyboardInterrupt):
        build_from(made, name="tiny", root=checkout.root, store=elsewhere, progress=SILENT, adopt=True)
    assert calls[:number] == paths[:number]
    assert {path: path.read_bytes() for path in paths if path.exists()} == before


def test_a_bundle_of_another_version_of_the_harness_is_refused(
    made: Path, elsewhere: Store, nothing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.images import build as build_module

    monkeypatch.setattr(build_module, "BUILDER_FORMAT", 1000)
    with pytest.raises(OutdatedLockError, match="the builder's format"):
        build_from(made, name=None, root=nothing, store=elsewhere, progress=SILENT)


def test_an_error_names_the_bundle_and_no_temporary_folder(
    checkout: Checkout, made: Path, elsewhere: Store, nothing: Path
) -> None:
    entries = members(made)
    spec = entries[1][1].replace(b"name: tiny", b"name: tuny")
    text = json.loads(entries[0][1])
    from harness.record.hashing import digest_of

    text["files"][0] |= {"digest": digest_of(spec), "size": len(spec)}
    index = (json.dumps(text, indent=2) + "\n").encode()
    made.write_bytes(repacked([(entries[0][0], index), (entries[1][0], spec), *entries[2:]]))
    with pytest.raises(HarnessError) as caught:
        build_from(made, name=None, root=nothing, store=elsewhere, progress=SILENT)
    assert str(made) in caught.value.message
    assert "docker/tiny.yaml" in caught.value.message
    assert str(elsewhere.home) not in str(caught.value)


def test_memory_does_not_grow_with_an_artifact(
    checkout: Checkout, tmp_path: Path, nothing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.wheels["large"] = wheel("large", {"large/noise.bin": os.urandom(30_000_000)})
    checkout.write()
    lock = build("tiny", root=checkout.root, store=checkout.store, update=True)
    store = Store(tmp_path / "elsewhere")
    monkeypatch.setattr(unbundle, "build", lambda *words, **options: lock)  # which is measured where it is tested
    monkeypatch.setattr(lockfile, "MAX_BYTES", 1 << 20)  # for so much a buffer is made, however small a lock is
    tracemalloc.start()
    try:
        write(checkout, tmp_path / "tiny.bundle")
        build_from(tmp_path / "tiny.bundle", name=None, root=nothing, store=store, progress=SILENT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
    assert len(objects(store)) == 4
