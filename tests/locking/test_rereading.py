"""A `debian.lock` whose account of a maintainer script was edited by hand, in the form that the harness writes."""

import re
import shutil

import msgspec
import pytest

from harness.errors import IntegrityError, UsageError
from harness.images.build import build
from harness.locking import lock as lock_module
from harness.locking import rereading as rereading_module
from harness.locking.check import check
from harness.locking.debian import Alternative, Folder, Link, SystemGroup, SystemUser, read_debian_lock
from harness.locking.lock import lock
from harness.locking.lockfile import write_lock
from harness.record.hashing import digest_of
from harness.store.progress import SILENT
from harness.store.store import Store

pytestmark = pytest.mark.needs("gpgv")


@pytest.fixture
def locked(template, tmp_path, keyring, monkeypatch, environment, links):
    """The checkout with its locks, but none of an image yet."""
    monkeypatch.setattr(lock_module, "KEYRINGS", (keyring,))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return shutil.copytree(template, tmp_path / "locked")


@pytest.fixture
def filled(template, tmp_path):
    """A store that holds the packages."""
    shutil.copytree(template.parent / "home", tmp_path / "filled", ignore=shutil.ignore_patterns("leases"))
    return Store(tmp_path / "filled")


def lock_path(root):
    return root / "lockfiles" / "small" / "debian.lock"


def write_scripts(root, package, scripts):
    """Another account of a package's scripts, in a lock that is otherwise as it was."""
    before = read_debian_lock(lock_path(root))
    packages = [
        msgspec.structs.replace(each, scripts=scripts(each.scripts)) if each.name == package else each
        for each in before.packages
    ]
    write_lock(lock_path(root), msgspec.structs.replace(before, packages=tuple(packages)))
    assert read_debian_lock(lock_path(root)) != before  # its form is right


def first(**fields):
    return lambda scripts: (msgspec.structs.replace(scripts[0], **fields), *scripts[1:])


EDITS = {
    "what it does is left out": ("library", first(does=())),
    "it does more": ("library", first(does=("alternatives", "folders", "ldconfig", "links"))),
    "an alternative is left out": ("library", first(alternatives=())),
    "another alternative": ("library", first(alternatives=(Alternative("/usr/bin/thing", "/usr/bin/other", 10),))),
    "a link more": ("library", first(links=(Link("/usr/bin/python3", "thing"),))),
    "a user is left out": ("postman", first(users=())),
    "a user more": ("library", first(users=(SystemUser("other", "other", "/root"),))),
    "a group more": ("library", first(groups=(SystemGroup("wheel"),))),
    "a folder is left out": ("library", first(folders=())),
    "another mode": ("library", first(folders=(Folder("/var/lib/library", "1777"),))),
    "an unknown line is left out": ("app", first(unknown=())),
    "another unknown line": ("app", first(unknown=("4: true",))),
    "another script": ("library", first(digest=digest_of(b"other"))),
    "a script less": ("library", lambda scripts: scripts[1:]),
    "another order": ("library", lambda scripts: scripts[::-1]),
}  # fmt: skip


@pytest.mark.parametrize(("package", "scripts"), EDITS.values(), ids=EDITS.keys())
def test_an_account_that_was_edited_is_found_and_put_right(package, scripts, locked, filled, environment):
    build("small", root=locked, store=filled, update=True)
    assert check(locked, ["small"], store=filled) == []
    right = lock_path(locked).read_bytes()
    write_scripts(locked, package, scripts)

    (problem,) = check(locked, ["small"], store=filled)
    assert re.match(rf"describes the \w+ of {package} otherwise than it is read", problem.message)
    assert problem.remedy == "harness lock small"
    before = (locked / "lockfiles" / "small" / "image.lock").read_bytes()
    with pytest.raises(IntegrityError, match=rf"describes the \w+ of {package} otherwise") as caught:
        build("small", root=locked, store=filled, update=True)
    assert "harness lock small" in str(caught.value.hint)
    assert (locked / "lockfiles" / "small" / "image.lock").read_bytes() == before

    notes = []
    progress = type("Told", (type(SILENT),), {"note": lambda self, text: notes.append(text)})()
    done = lock(locked, "small", filled, progress=progress, environment=environment)
    assert done.written == (lock_path(locked),)
    assert lock_path(locked).read_bytes() == right
    assert f"of {package} otherwise than it is read" in notes[0]
    assert check(locked, ["small"], store=filled) == []


def test_an_unknown_line_that_was_deleted_lets_no_script_pass_without_a_waiver(locked, filled, environment):
    write_scripts(locked, "app", first(unknown=()))
    spec = locked / "docker" / "small.yaml"
    spec.write_text(spec.read_text().replace("postinst: {app: does nothing}", "postinst: {}"))
    with pytest.raises(UsageError, match="postinst of app is not waived"):
        lock(locked, "small", filled, progress=SILENT, environment=environment)


def test_without_the_packages_nobody_can_tell_and_nothing_is_fetched(locked, store, mirror, environment):
    write_scripts(locked, "library", first(does=()))
    edited = lock_path(locked).read_bytes()
    shutil.rmtree(mirror)
    assert [problem.lock for problem in check(locked, ["small"], store=store)] == ["lockfiles/small/image.lock"]
    assert lock(locked, "small", store, progress=SILENT, environment=environment).written == ()
    assert lock_path(locked).read_bytes() == edited


def test_what_was_committed_is_built_for_ever_however_scripts_are_read_later(
    locked, filled, links, make_wheel, environment, monkeypatch
):
    committed = build("small", root=locked, store=filled, update=True)

    def read_better(*_):
        asked.append(1)
        return ()

    asked = []
    monkeypatch.setattr(rereading_module, "read_scripts", read_better)
    assert build("small", root=locked, store=filled) == committed
    make_wheel(links, "demo", "1.1", data=b"newer")
    spec = locked / "docker" / "small.yaml"
    spec.write_text(spec.read_text().replace("requirements: [demo]", "requirements: [demo==1.1]"))
    with monkeypatch.context() as patch:
        patch.setattr(lock_module, "read_again", lambda lock, file_of: lock)
        lock(locked, "small", filled, progress=SILENT, environment=environment)
    assert build("small", root=locked, store=filled, update=True).manifest != committed.manifest
    assert asked == []

    (locked / "lockfiles" / "small" / "image.lock").unlink()
    with pytest.raises(IntegrityError, match="made by another version"):
        build("small", root=locked, store=filled, update=True)
