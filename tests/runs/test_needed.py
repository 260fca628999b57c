"""After tidying up, everything that somebody needs is there: shown by making every image again without the network."""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from image_packages import Checkout, wheel
from registries import debian_registry, repository

from harness.errors import HarnessError, IntegrityError, UsageError
from harness.images.build import build, open_image
from harness.images.code import code_image
from harness.images.compression import Compression
from harness.images.stored import StoredImage
from harness.images.transport import pull_image, push_image
from harness.record.files import write_atomically
from harness.record.hashing import digest_of, digest_of_file
from harness.runs import bytecode, keeping
from harness.runs.needed import find_needed
from harness.spec.digest import Digest, hexadecimal
from harness.spec.run import Mount
from harness.store import roots
from harness.store.gc import Kind, find_garbage, remove_garbage
from harness.store.roots import forget_checkouts, note_checkout
from harness.store.store import Store
from harness.store.trees import checkout_tree, put_tree_from_files


def age(store: Store) -> None:
    """Let everything in a store have been used last a month ago."""
    then = time.time() - 30 * 86400
    for path in store.home.rglob("*"):
        if path.relative_to(store.home).parts[0] != "leases":
            os.utime(path, (then, then), follow_symlinks=False)


def collect(store: Store) -> set[str]:
    """Remove everything that nothing needs; the names of what went."""
    age(store)
    found = find_garbage(store, find_needed(store).digests, older_than=86400)
    return {item.path.rpartition("/")[2] for item in remove_garbage(store, found)}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise HarnessError("the network was asked")

    monkeypatch.setattr("harness.store.fetch.find_wheels", refuse)
    monkeypatch.setattr("harness.store.fetch.debian_mirrors", refuse)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def checkout(tmp_path: Path, store: Store) -> Checkout:
    checkout = Checkout(tmp_path / "checkout", store).write()
    build("tiny", root=checkout.root, store=store, update=True)
    note_checkout(store, checkout.root)
    return checkout


@settings(max_examples=12, deadline=None)
@given(
    contents=st.lists(st.binary(max_size=200), min_size=1, max_size=3),
    orphans=st.lists(st.binary(min_size=1, max_size=50), max_size=4, unique=True),
    vanished=st.booleans(),
    without_layers=st.booleans(),
)
def test_every_image_of_every_lock_still_builds_and_every_orphan_is_gone(
    contents: list[bytes], orphans: list[bytes], vanished: bool, without_layers: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        checkouts, lost = [], set()
        for number, content in enumerate(contents):
            checkout = Checkout(Path(folder) / f"checkout-{number}", store)
            data = wheel("small", {"small/__init__.py": b"# %d\n" % number + content.hex().encode()})
            checkout.wheels["small"] = data
            build("tiny", root=checkout.write().root, store=store, update=True)
            note_checkout(store, checkout.root)
            checkouts.append((checkout, digest_of(data)))
        if vanished:
            checkout, only = checkouts.pop()
            shutil.rmtree(checkout.root)
            lost.add(only)
        lost |= {store.put_bytes(b"orphan " + data) for data in orphans}
        lost |= {put_tree_from_files(store, {"a": data}) for data in orphans}
        if without_layers:
            for checkout, _ in checkouts:
                for layer in build("tiny", root=checkout.root, store=store).layers:
                    store.path(layer.digest).unlink(missing_ok=True)
        collect(store)
        assert not [digest for digest in lost if store.path(digest).exists()]
        for checkout, _ in checkouts:
            build("tiny", root=checkout.root, store=store)
            build("tiny", root=checkout.root, store=store, anew=True)
        store.close()


def test_a_checkout_needs_its_artifacts_layers_and_environment(checkout: Checkout, store: Store) -> None:
    lock = digest_of_file(checkout.folder / "python.txt")
    for name in (lock, digest_of(b"another lock")):
        (store.home / "environments" / f"{hexadecimal(name)}-3.11.2-12345678").mkdir(parents=True)
    gone = collect(store)
    assert gone == {f"{hexadecimal(digest_of(b'another lock'))}-3.11.2-12345678"}


def test_a_checkout_that_has_been_gone_for_a_month_needs_nothing(checkout: Checkout, store: Store) -> None:
    shutil.rmtree(checkout.root)
    age(store)
    needed = find_needed(store)
    assert (needed.checkouts, len(needed.vanished), needed.digests) == ((), 1, frozenset())
    collect(store)
    assert [path for path in (store.home / "objects").rglob("*") if path.is_file()] == []


def unmount(checkout: Checkout, store: Store, days: float) -> None:
    """Let a checkout be out of sight that was last used so many days ago, and all else in the store a month ago."""
    note_checkout(store, checkout.root)
    checkout.root.rename(checkout.root.with_name("elsewhere"))
    age(store)
    then = time.time() - days * 86400
    for note in (store.home / "roots").iterdir():
        os.utime(note, (then, then))


def remove(store: Store) -> set[str]:
    found = find_garbage(store, find_needed(store).digests, older_than=86400)
    return {item.path.rpartition("/")[2] for item in remove_garbage(store, found)}


def test_a_checkout_that_is_not_mounted_needs_what_it_needed_for_thirty_days(checkout: Checkout, store: Store) -> None:
    orphan = store.put_bytes(b"orphan")
    unmount(checkout, store, days=29)
    assert remove(store) == {hexadecimal(orphan)}
    checkout.root.with_name("elsewhere").rename(checkout.root)
    build("tiny", root=checkout.root, store=store, anew=True)
    unmount(checkout, store, days=31)
    assert hexadecimal(digest_of(checkout.wheels["small"])) in remove(store)


def test_a_checkout_that_is_not_mounted_is_let_go_by_its_path(checkout: Checkout, store: Store) -> None:
    with pytest.raises(UsageError, match="is there, and needs what its files say"):
        forget_checkouts(store, [checkout.root])
    unmount(checkout, store, days=1)
    with pytest.raises(UsageError, match="No checkout"):
        forget_checkouts(store, [checkout.root, checkout.root / "other"])
    assert len(find_needed(store).vanished) == 1
    forget_checkouts(store, [checkout.root])
    assert find_needed(store).vanished == ()
    assert hexadecimal(digest_of(checkout.wheels["small"])) in remove(store)


def test_another_machines_checkout_at_the_same_path_needs_its_own_things(
    checkout: Checkout, store: Store, monkeypatch
) -> None:
    theirs = store.put_bytes(b"what the other machine's baseline names")
    baseline = checkout.root / "lockfiles" / "theirs.json"
    baseline.write_text(f'"{theirs}"')
    with monkeypatch.context() as other:
        other.setattr(roots, "_host", lambda: "other")
        note_checkout(store, checkout.root)
    baseline.unlink()
    age(store)
    for note in (store.home / "roots").iterdir():
        os.utime(note)
    assert remove(store) == set()
    needed = find_needed(store)
    assert [(each.root, each.host) for each in needed.vanished] == [(checkout.root, "other")]
    forget_checkouts(store, [checkout.root])
    assert remove(store) == {hexadecimal(theirs)}


def test_a_checkout_out_of_sight_whose_needs_were_not_noted_stops_everything(store: Store, tmp_path: Path) -> None:
    note = store.home / "roots" / ("0" * 32)
    note.parent.mkdir()
    note.write_text(str(tmp_path / "gone"))
    with pytest.raises(UsageError, match="is not there, and what it needs") as caught:
        find_needed(store)
    assert f"--forget {tmp_path / 'gone'}" in str(caught.value.hint)
    age(store)
    assert find_needed(store).digests == frozenset()


@pytest.mark.parametrize("place", ["lockfiles/baselines", "docker/more", "lockfiles"])
def test_what_a_linked_folder_names_stays(checkout: Checkout, store: Store, tmp_path: Path, place: str) -> None:
    named = store.put_bytes(b"what a baseline names")
    folder = checkout.root / place
    target = tmp_path / "shared"
    if folder.exists():
        folder.rename(target)
    else:
        target.mkdir()
    (target / "v1.json").write_text(f'"{named}"')
    (target / "loop").symlink_to(target)
    (target / "up").symlink_to(checkout.root)
    folder.symlink_to(target)
    assert hexadecimal(named) not in collect(store)
    (target / "v1.json").unlink()
    assert hexadecimal(named) in collect(store)


@pytest.mark.parametrize("place", ["lockfiles/baselines", "docker/more.yaml"])
def test_a_link_that_leads_nowhere_stops_everything(checkout: Checkout, store: Store, place: str) -> None:
    (checkout.root / place).symlink_to(checkout.root / "not-mounted")
    with pytest.raises(UsageError, match="is a link that leads nowhere"):
        find_needed(store)
    (checkout.root / "not-mounted").touch()
    find_needed(store)


def test_a_lock_that_moved_on_needs_the_new_artifacts_only(checkout: Checkout, store: Store) -> None:
    old = digest_of(checkout.wheels["small"])
    checkout.wheels["small"] = wheel("small", {"small/__init__.py": b"# new\n"})
    checkout.write()
    build("tiny", root=checkout.root, store=store, update=True)
    assert hexadecimal(old) in collect(store)
    build("tiny", root=checkout.root, store=store, anew=True)


def test_what_a_baseline_names_stays(checkout: Checkout, store: Store) -> None:
    old = digest_of(checkout.wheels["small"])
    baseline = checkout.root / "lockfiles" / "baselines" / "v1.json"
    baseline.parent.mkdir()
    baseline.write_text(f'{{"environments": {{"tiny": "{old}"}}}}')
    checkout.wheels["small"] = wheel("small", {"small/__init__.py": b"# new\n"})
    checkout.write()
    assert hexadecimal(old) not in collect(store)
    baseline.unlink()
    assert hexadecimal(old) in collect(store)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Checkout:
    """Another machine's checkout and store, with an image `tiny` that nobody here knows."""
    other = Checkout(tmp_path / "elsewhere", Store(tmp_path / "other store"))
    other.wheels["small"] = wheel("small", {"small/__init__.py": b"# elsewhere\n"})
    build("tiny", root=other.write().root, store=other.store, update=True)
    return other


def pulled(checkout: Checkout, store: Store, compression: Compression = Compression.NONE) -> tuple[StoredImage, Digest]:
    """The image of another checkout, pulled from a registry into a store; its digest there."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_image("tiny", root=checkout.root, store=checkout.store) as image,
        debian_registry(Path(folder, "registry")) as registry,
    ):
        target = repository(registry.host, push=True)
        there = push_image(image, target, store=checkout.store, compression=compression).manifest
        return pull_image(repository(f"{registry.host}/team/tiny@{there}"), store=store), there


def parts(image: StoredImage) -> set[str]:
    """The digests of all that an image is, in hexadecimal."""
    layers = [layer.digest for layer in image.lock.layers]
    return {hexadecimal(digest) for digest in (image.lock.manifest, image.lock.config, *layers)}


def test_an_image_that_was_pulled_and_that_nobody_names_goes(
    checkout: Checkout, elsewhere: Checkout, store: Store
) -> None:
    image, _ = pulled(elsewhere, store)
    own = {hexadecimal(layer.digest) for layer in build("tiny", root=checkout.root, store=store).layers}
    assert collect(store) == parts(image) - own


@pytest.mark.parametrize("compression", Compression)
def test_an_image_that_was_pulled_stays_while_a_file_names_its_digest_here_or_in_the_registry(
    checkout: Checkout, elsewhere: Checkout, store: Store, compression: Compression
) -> None:
    image, there = pulled(elsewhere, store, compression)
    note = checkout.root / "lockfiles" / "pulled.txt"
    for digest in {image.lock.manifest, there}:
        note.write_text(f"registry.example.com/team/tiny@{digest}\n")
        layers = {hexadecimal(layer.digest) for layer in image.lock.layers}
        assert not collect(store) & layers
        assert all(store.has(layer.digest) for layer in image.lock.layers)
        pulled(elsewhere, store, compression)
    note.unlink()
    assert hexadecimal(image.lock.manifest) in collect(store)


def test_a_committed_image_that_was_pulled_stays_with_its_checkout(
    checkout: Checkout, store: Store, tmp_path: Path
) -> None:
    lock = build("tiny", root=checkout.root, store=store)
    fresh = Store(tmp_path / "fresh")
    note_checkout(fresh, checkout.root)
    image, _ = pulled(checkout, fresh)
    assert image.lock.manifest == lock.manifest
    assert collect(fresh) == set()
    assert all(fresh.has(layer.digest) for layer in lock.layers)


def test_an_image_with_code_stays_while_a_file_names_its_digest(checkout: Checkout, store: Store) -> None:
    tree = put_tree_from_files(store, {"train.py": b"print(1)\n"})
    mount = Mount(name="project", source=str(checkout_tree(store, tree)), digest=tree)
    with open_image("tiny", root=checkout.root, store=store) as below:
        image = code_image(
            below, [mount], folder="harness", empty={}, environment={}, entrypoint=["python3"],
            working_directory="/harness/project", store=store,
        )  # fmt: skip
    note = checkout.root / "lockfiles" / "deployed.txt"
    note.write_text(image.lock.manifest)
    collect(store)
    assert all(store.has(layer.digest) for layer in image.lock.layers)
    note.unlink()
    assert hexadecimal(image.lock.layers[-1].digest) in collect(store)


def test_the_bytecode_of_an_image_that_is_needed_stays(checkout: Checkout, store: Store) -> None:
    def keep(manifest: Digest, text: bytes) -> Digest:
        tree = put_tree_from_files(store, {"a.pyc": text})
        key = bytecode.bytecode_key(manifest, digest_of_file(Path(bytecode.__file__).parents[1] / "strict/warm.py"))
        (store.home / "bytecode").mkdir(exist_ok=True)
        write_atomically(store.home / "bytecode" / key, tree.encode())
        return tree

    lock = build("tiny", root=checkout.root, store=store)
    needed, orphan = keep(lock.manifest, b"1"), keep(digest_of(b"another image"), b"2")
    collect(store)
    checkout_tree(store, needed)
    assert not (store.home / "trees" / hexadecimal(orphan)).exists()
    assert len(list((store.home / "bytecode").iterdir())) == 1


def test_the_recipe_of_a_layer_that_is_needed_stays(checkout: Checkout, store: Store) -> None:
    """Without it, a change of one wheel would make every layer again."""
    recipes = store.home / "layers"
    needed = {path.name for path in recipes.iterdir()}
    (recipes / ("0" * 64)).write_text(f'{{"name":"wheels","digest":"{digest_of(b"gone")}","size":4}}')
    assert needed
    collect(store)
    assert {path.name for path in recipes.iterdir()} == needed


def test_a_checkout_that_cannot_be_read_stops_everything(checkout: Checkout, store: Store, monkeypatch) -> None:
    real = Path.open

    def unreadable(self: Path, *arguments, **options):
        if self.name == "python.txt":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", unreadable)
    with pytest.raises(UsageError, match=r"python\.txt needs of the store cannot be told: Permission denied"):
        find_needed(store)


def test_a_checkout_of_which_nothing_is_known_stops_everything(checkout: Checkout, store: Store, monkeypatch) -> None:
    real = Path.stat

    def denied(self: Path, **options):
        if self == checkout.root / "lockfiles":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, **options)

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(UsageError, match="still uses the store cannot be told"):
        find_needed(store)


def test_a_damaged_pin_stops_everything(checkout: Checkout, store: Store) -> None:
    (store.home / "kept").mkdir()
    (store.home / "kept" / "image-tiny-0.json").write_text("{")
    with pytest.raises(IntegrityError, match="is damaged"):
        find_needed(store)


def test_a_kept_image_survives_its_checkout_and_its_lock(checkout: Checkout, store: Store, tmp_path: Path) -> None:
    kept = keeping.keep("tiny", root=checkout.root, results=tmp_path / "RESULTS", store=store, note="rollback")
    assert (kept.missing, kept.problem, kept.pin.title) == ((), None, "image tiny")
    copy = tmp_path / "later"
    shutil.copytree(checkout.root, copy)
    shutil.rmtree(checkout.root)
    orphan = store.put_bytes(b"orphan")
    assert collect(store) == {hexadecimal(orphan)}
    build("tiny", root=copy, store=store, anew=True)
    assert keeping.let_go("tiny", results=tmp_path / "RESULTS", store=store) == ("image tiny",)
    assert hexadecimal(digest_of(checkout.wheels["small"])) in collect(store)


def test_keeping_says_what_is_not_there_to_be_kept(checkout: Checkout, store: Store, tmp_path: Path) -> None:
    lost = digest_of(checkout.wheels["small"])
    store.path(lost).unlink()
    kept = keeping.keep("docker/tiny.yaml", root=checkout.root, results=tmp_path / "RESULTS", store=store)
    assert kept.missing == (lost,)


def test_what_is_kept_while_the_garbage_is_being_removed_stays(
    checkout: Checkout, store: Store, tmp_path: Path
) -> None:
    root = tmp_path / "moved"
    checkout.root.rename(root)  # nobody is known to use it
    age(store)
    found = find_garbage(store, find_needed(store).digests, older_than=86400)
    assert {item.kind for item in found.garbage} == {Kind.OBJECT, Kind.RECIPE, Kind.READING, Kind.OUTCOME}
    keeping.keep("tiny", root=root, results=tmp_path / "RESULTS", store=store)
    left = {item.path.rpartition("/")[2] for item in remove_garbage(store, found)}
    assert hexadecimal(digest_of(checkout.wheels["small"])) not in left
    build("tiny", root=root, store=store, anew=True)
