import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest
from image_packages import Checkout, deb, member, wheel

from harness.errors import IntegrityError, OutdatedLockError, PrerequisiteError, UsageError
from harness.images import assembly
from harness.images import build as build_module
from harness.images.assembly import ClosedError
from harness.images.build import build, open_image
from harness.images.export import archive_chunks
from harness.images.layer import PlannedLayer
from harness.images.registry import serve
from harness.locking.debian import read_debian_lock
from harness.locking.imagelock import BUILDER_FORMAT, SCHEMA, ImageLock, LayerLock
from harness.locking.lockfile import read_lock, write_lock
from harness.spec.digest import Digest
from harness.store.fetch import fetch
from harness.store.progress import SILENT
from harness.store.store import Store

# What the layers of these tests' image are. They rest on this room's formats and on the text of installer's scripts: if
# one of them changes, so does every committed image.lock, and the builder's format must be raised.
LAYERS = {
    "debian": "sha256:d859a2937b303099817c0303dc20d9ed6fce0d08f689aeb2e745e14ef2de41f4",
    "wheel:large": "sha256:e911b081ecb74838f773fc47a8824d5680f360d8d5e5684d5d6923195cff0bcc",
    "wheels": "sha256:c871487811c3ef38a162548248997cb355a82875ac97b4c8e0f7ef7ed77085f6",
    "configuration": "sha256:d1fa704feffa936a3a309292905544aa8623775444f83935cda1e189f30f277e",
}

HERE = Path(__file__).parent
SCRIPT = f"""\
import sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parents[1])!r}]
from pathlib import Path
from image_packages import Checkout, wheel
from harness.images.build import build
from harness.store.store import Store
"""
FILES = {"small/b.py": b"2", "small/a.py": b"1"}

Alter = Callable[[Store, Digest], None]


def make(checkout: Checkout) -> ImageLock:
    return build("tiny", root=checkout.root, store=checkout.store, update=True)


def rebuild(checkout: Checkout) -> ImageLock:
    return build("tiny", root=checkout.root, store=checkout.store)


def call(checkout: Checkout) -> str:
    """What another process runs to build the image."""
    return f"build('tiny', root=Path({str(checkout.root)!r}), store=Store(Path({str(checkout.store.home)!r})))"


def layer_files(store: Store) -> set[Path]:
    return {path for path in (store.home / "objects").rglob("*") if path.is_file()}


def test_layers_are_cut_by_origin_and_are_these_bytes(checkout: Checkout) -> None:
    lock = make(checkout)
    assert {layer.name: layer.digest for layer in lock.layers} == LAYERS
    assert [layer.name for layer in lock.layers] == list(LAYERS)
    for layer in lock.layers:
        assert checkout.store.verified_path(layer.digest).stat().st_size == layer.size
    assert read_lock(checkout.folder / "image.lock", ImageLock, schema=SCHEMA) == lock
    assert rebuild(checkout) == lock


def test_sums_of_files_that_are_left_out_are_left_out(checkout: Checkout) -> None:
    rows = [b"%032d  %s\n" % (0, name) for name in (b"bin/sh", b"usr/share/doc/base/copyright")]
    checkout.debs["base"] = deb(
        "base", [member("./bin/sh"), member("./usr/share/doc/base/copyright")], sums=b"".join(rows)
    )
    lock = make(checkout.write())
    with tarfile.open(checkout.store.path(lock.layers[0].digest)) as layer:
        kept = layer.extractfile("var/lib/dpkg/status.d/base.md5sums")
        assert kept is not None
        assert kept.read() == rows[0]


@pytest.mark.parametrize(("umask", "zone"), [(0o077, "Asia/Kathmandu"), (0o000, "America/Caracas")])
def test_surroundings_and_the_order_of_files_do_not_count(
    umask: int, zone: str, checkout: Checkout, tmp_path: Path
) -> None:
    checkout.wheels["small"] = wheel("small", FILES)
    expected = make(checkout.write())
    home = tmp_path / "home"
    home.mkdir()
    script = SCRIPT + (
        "checkout = Checkout(Path('checkout').absolute(), Store(Path('store').absolute()))\n"
        f"checkout.wheels['small'] = wheel('small', {FILES!r}, order=-1)\n"
        "print(build('tiny', root=checkout.write().root, store=checkout.store, update=True).manifest)\n"
    )
    printed = subprocess.check_output(
        [sys.executable, "-c", script],
        cwd=home,
        umask=umask,
        env={"PATH": "/usr/bin:/bin", "TZ": zone, "HOME": str(home), "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "7"},
    )
    assert printed.decode().strip() == expected.manifest


def test_another_input_is_another_image(checkout: Checkout) -> None:
    first = make(checkout)
    checkout.wheels["small"] = wheel("small", {"small/__init__.py": b"1"})
    second = make(checkout.write())
    assert first.manifest != second.manifest
    differing = [one.name for one, two in zip(first.layers, second.layers, strict=True) if one != two]
    assert differing == ["wheels"]


def test_with_nothing_changed_nothing_is_done(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = make(checkout)
    before = {path: path.stat().st_mtime_ns for path in checkout.root.rglob("*")}

    def never(*_: object) -> None:
        raise AssertionError("planned again")

    monkeypatch.setattr(build_module, "_plan", never)
    started = time.process_time()
    assert rebuild(checkout) == lock
    assert time.process_time() - started < 0.3
    assert before == {path: path.stat().st_mtime_ns for path in checkout.root.rglob("*")}


def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the layers that are written from now on."""
    names: list[str] = []
    real = assembly._write

    def spy(layer: PlannedLayer, *rest: object) -> LayerLock:
        names.append(layer.name)
        return real(layer, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(assembly, "_write", spy)
    return names


def test_with_one_wheel_changed_only_its_layer_is_written(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(checkout)
    names = written(monkeypatch)
    checkout.wheels["small"] = wheel("small", {"small/__init__.py": b"1"})
    second = make(checkout.write())
    assert names == ["wheels"]
    assert first.manifest != second.manifest
    assert build("tiny", root=checkout.root, store=checkout.store, anew=True) == second
    assert sorted(names[1:]) == sorted(LAYERS)


@pytest.mark.parametrize("what", ["the layer", "a part of the layer", "the note", "a part of the note"])
def test_a_layer_of_which_not_all_is_left_is_written_again(
    what: str, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = make(checkout)
    names = written(monkeypatch)
    assert make(checkout) == lock
    assert names == []
    notes = {
        msgspec.json.decode(path.read_bytes())["name"]: path for path in (checkout.store.home / "layers").iterdir()
    }
    path = notes["debian"] if "note" in what else checkout.store.path(lock.layers[0].digest)
    data = path.read_bytes()
    path.unlink()
    if "part" in what:
        path.write_bytes(data[:-1])
    assert make(checkout) == lock
    assert names == ["debian"]


def test_another_way_to_write_layers_writes_them_all(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    make(checkout)
    names = written(monkeypatch)
    monkeypatch.setattr("harness.images.layer._WRITER", "another")
    make(checkout)
    assert sorted(names) == sorted(LAYERS)


def test_an_image_made_anew_has_every_layer_made_again(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = make(checkout)
    made: list[str] = []
    real = build_module.make_layers

    def spy(planned: list[PlannedLayer], *rest: object, **how: bool) -> None:
        made.extend(layer.name for layer in planned)
        real(planned, *rest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(build_module, "make_layers", spy)
    committed = (checkout.folder / "image.lock").read_bytes()
    assert build("tiny", root=checkout.root, store=checkout.store, anew=True) == lock
    assert made == [layer.name for layer in lock.layers]
    assert (checkout.folder / "image.lock").read_bytes() == committed


def test_an_image_that_no_longer_comes_out_as_its_lock_says_is_found_by_making_it_anew(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(checkout)
    real = build_module.make_layers

    def another_builder(planned: list[PlannedLayer], *rest: object, **how: bool) -> None:
        fewer = msgspec.structs.replace(planned[0], entries=planned[0].entries[:-1])
        real([fewer, *planned[1:]], *rest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(build_module, "make_layers", another_builder)
    rebuild(checkout)
    with pytest.raises(IntegrityError, match=r"is not what .*image\.lock says: layer debian is sha256:"):
        build("tiny", root=checkout.root, store=checkout.store, anew=True)


def test_an_image_made_anew_rests_on_artifacts_that_are_checked(
    checkout: Checkout, alter: Alter, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(checkout)
    alter(checkout.store, checkout.store.put_bytes(checkout.wheels["small"]))
    monkeypatch.setattr("harness.store.fetch.fetch", lambda *_, **__: None)
    rebuild(checkout)
    with pytest.raises((IntegrityError, PrerequisiteError)):
        build("tiny", root=checkout.root, store=checkout.store, anew=True)


def test_only_what_is_missing_is_made(checkout: Checkout) -> None:
    lock = make(checkout)
    kept = checkout.store.path(lock.layers[0].digest)
    before = kept.stat().st_ino
    checkout.store.path(lock.layers[1].digest).unlink()
    assert rebuild(checkout) == lock
    assert checkout.store.verified_path(lock.layers[1].digest)
    assert kept.stat().st_ino == before


def test_an_image_without_a_lock_is_refused_until_one_is_asked_for(checkout: Checkout) -> None:
    with pytest.raises(UsageError, match=r"no .*image\.lock.*\n.*--update"):
        rebuild(checkout)
    assert not (checkout.folder / "image.lock").exists()


def test_an_unknown_image_is_refused_with_those_there_are(checkout: Checkout) -> None:
    with pytest.raises(UsageError, match="tiny"):
        build("other", root=checkout.root, store=checkout.store)


def test_a_build_that_misses_its_lock_names_layer_and_file(checkout: Checkout) -> None:
    make(checkout)
    checkout.wheels["small"] = wheel("small", {"small/__init__.py": b"changed\n"})
    checkout.write()
    with pytest.raises(IntegrityError, match=r"layer wheels is sha256:.*: /usr/local/bin is missing") as caught:
        rebuild(checkout)
    assert caught.value.exit_code == 4
    assert "--update" in (caught.value.hint or "")


def test_a_lock_whose_layer_is_another_is_missed_even_with_equal_inputs(checkout: Checkout) -> None:
    lock = make(checkout)
    wrong = msgspec.structs.replace(lock.layers[0], digest=lock.layers[1].digest)
    write_lock(checkout.folder / "image.lock", msgspec.structs.replace(lock, layers=(wrong, *lock.layers[1:])))
    with pytest.raises(IntegrityError, match="contradicts itself"):
        rebuild(checkout)
    with pytest.raises(IntegrityError, match="contradicts itself"):
        build("tiny", root=checkout.root, store=checkout.store, anew=True)


def test_a_lock_of_another_builder_is_missed(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    make(checkout)
    monkeypatch.setattr(build_module, "BUILDER_FORMAT", BUILDER_FORMAT + 1)
    with pytest.raises(IntegrityError, match="its layers are alike, but its config is"):
        rebuild(checkout)
    with (
        pytest.raises(OutdatedLockError, match="the builder's format"),
        open_image("tiny", root=checkout.root, store=checkout.store),
    ):
        pass


def test_an_image_older_than_its_inputs_is_not_opened(checkout: Checkout) -> None:
    make(checkout)
    checkout.wheels["small"] = wheel("small", {"small/__init__.py": b"2"})
    checkout.write()
    with (
        pytest.raises(OutdatedLockError, match=r"python\.txt changed") as caught,
        open_image("tiny", root=checkout.root, store=checkout.store),
    ):
        pass
    assert caught.value.exit_code == 1


def test_a_hostile_package_leaves_no_lock_and_no_layer(checkout: Checkout) -> None:
    checkout.debs["evil"] = deb("evil", [member("./../x")])
    before = layer_files(checkout.write().store)
    with pytest.raises(IntegrityError, match=r"evil 1\.0: the member '\./\.\./x' leads out of the image"):
        make(checkout)
    assert not (checkout.folder / "image.lock").exists()
    # What the honest packages unpacked to was kept for the next time, and no more.
    readings = b"".join(note.read_bytes() for note in (checkout.store.home / "readings").iterdir())
    assert all(path.name.encode() in readings for path in layer_files(checkout.store) - before)


def test_a_wheel_that_lies_in_record_stops_the_build(checkout: Checkout) -> None:
    honest = {"small/__init__.py": b"good"}
    checkout.wheels["small"] = wheel("small", {"small/__init__.py": b"evil"}, recorded=honest)
    with pytest.raises(IntegrityError, match=r"small/__init__\.py is not what the wheel's RECORD says") as refused:
        make(checkout.write())
    assert "lock another version" in (refused.value.hint or "")
    assert not (checkout.folder / "image.lock").exists()


ENTRY_POINT = b"[console_scripts]\n%s = small:main\n"


@pytest.mark.parametrize(
    ("member", "data", "program"),
    [
        ("small-1.0.data/scripts/python3", b"#!/bin/sh\n", "bin/python3"),
        ("small-1.0.data/data/sbin/python3.11", b"ELF", "sbin/python3.11"),
        ("small-1.0.dist-info/entry_points.txt", ENTRY_POINT % b"python", "bin/python"),
        ("small-1.0.dist-info/entry_points.txt", ENTRY_POINT % b"ldconfig", "bin/ldconfig"),
        ("small-1.0.data/scripts/strace", b"#!/bin/sh\n", "bin/strace"),
    ],
)
def test_a_wheel_takes_no_place_before_python_and_what_we_start(
    member: str, data: bytes, program: str, checkout: Checkout
) -> None:
    checkout.wheels["small"] = wheel("small", {"small/__init__.py": b"", member: data})
    with pytest.raises(IntegrityError, match=rf"small has a program /usr/local/{program}, which") as refused:
        make(checkout.write())
    assert not (checkout.folder / "image.lock").exists()
    left_out = (refused.value.hint or "").partition("python.exclude: [")[2].partition("]")[0]
    checkout.spec = checkout.spec.replace('exclude: ["*/tests/*"]', f'exclude: ["*/tests/*", {left_out}]')
    make(checkout.write())


@pytest.mark.parametrize("name", ["python3-config", "python-argcomplete", "ipython3", "ldconfig-tool", "sh"])
def test_a_wheel_has_programs_of_its_own(name: str, checkout: Checkout) -> None:
    files = {"small/__init__.py": b"", f"small-1.0.data/scripts/{name}": b"#!python\n", "small/bin/python3": b"data"}
    checkout.wheels["small"] = wheel("small", files)
    make(checkout.write())


def test_packages_that_disagree_about_a_path_are_refused(checkout: Checkout) -> None:
    checkout.debs["rival"] = deb("rival", [member("./bin/sh", b"other")])
    with pytest.raises(IntegrityError, match="base and rival both have /usr/bin/sh"):
        make(checkout.write())


def test_a_missing_artifact_is_named(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    make(checkout)
    for path in layer_files(checkout.store):
        path.unlink()
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("harness.store.fetch.fetch", partial(fetch, delay=0.0))
    monkeypatch.setattr("harness.store.fetch.find_wheels", lambda wheels, _: ({}, {}))
    monkeypatch.setattr("harness.store.fetch.debian_mirrors", lambda *_: [])
    monkeypatch.setattr("harness.store.fetch.SNAPSHOT_ARCHIVE", "http://127.0.0.1:1")
    with pytest.raises((PrerequisiteError, IntegrityError), match=r"base_1\.0_amd64\.deb|small|large"):
        rebuild(checkout)


def test_downloads_are_where_ctrl_c_reaches_them(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = make(checkout)
    checkout.store.path(lock.layers[0].digest).unlink()

    def interrupted(*_: object, **__: object) -> None:
        assert threading.current_thread() is threading.main_thread()
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.store.fetch.fetch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rebuild(checkout)
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        with pytest.raises(KeyboardInterrupt):
            next(archive_chunks(image))
        with pytest.raises(KeyboardInterrupt), serve(image):
            pass


def test_what_is_there_is_not_fetched(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    make(checkout)
    monkeypatch.setattr("harness.store.fetch.fetch", None)
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        image.fetch()


def test_a_damaged_artifact_is_set_aside_and_fetched_again(
    checkout: Checkout, alter: Alter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = make(checkout)
    links = tmp_path / "links"
    links.mkdir()
    for name, data in checkout.wheels.items():
        (links / f"{name}-1.0-py3-none-any.whl").write_bytes(data)
    monkeypatch.setenv("UV_FIND_LINKS", str(links))
    alter(checkout.store, checkout.store.put_bytes(checkout.wheels["large"]))
    checkout.store.path(lock.layers[1].digest).unlink()
    assert rebuild(checkout) == lock
    assert len(list((checkout.store.home / "quarantine").iterdir())) == 1


def test_a_damaged_layer_is_set_aside_and_made_again(checkout: Checkout, alter: Alter) -> None:
    lock = make(checkout)
    alter(checkout.store, lock.layers[2].digest)
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        path = image.blob(lock.layers[2].digest)
    assert checkout.store.verified_path(lock.layers[2].digest) == path
    assert len(list((checkout.store.home / "quarantine").iterdir())) == 1


def test_an_opened_image_makes_its_layers_when_they_are_asked_for(checkout: Checkout) -> None:
    lock = make(checkout)
    for layer in lock.layers:
        checkout.store.path(layer.digest).unlink()
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        assert not any(checkout.store.has(layer.digest) for layer in lock.layers)
        threads = [threading.Thread(target=image.blob, args=(layer.digest,)) for layer in lock.layers * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(checkout.store.verified_path(layer.digest) for layer in lock.layers)
        assert image.blob(lock.manifest).read_bytes() == image.manifest_bytes
        assert image.blob(lock.config).read_bytes() == image.config_bytes
        assert image.failure() is None
        with pytest.raises(KeyError):
            image.blob(checkout.store.put_bytes(b"other"))


def test_a_layer_that_cannot_be_made_says_why_to_all_who_wait(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = make(checkout)
    for layer in lock.layers:
        checkout.store.path(layer.digest).unlink()

    def fail(*_: object) -> None:
        raise PrerequisiteError("the disk is full")

    monkeypatch.setattr(build_module, "_plan", fail)
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        for layer in lock.layers:
            with pytest.raises(PrerequisiteError, match="the disk is full"):
                image.blob(layer.digest)
        assert isinstance(image.failure(), PrerequisiteError)


def test_closing_stops_what_is_being_made(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = make(checkout)
    for layer in lock.layers:
        checkout.store.path(layer.digest).unlink()
    monkeypatch.setattr("harness.images.assembly.layer_chunks", lambda _: iter(lambda: b"x" * 1000, None))
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:

        def wait() -> None:
            with pytest.raises(ClosedError):
                image.blob(lock.layers[0].digest)

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.1)
    waiting.join(10)
    assert not waiting.is_alive()
    assert not any(checkout.store.has(layer.digest) for layer in lock.layers)
    assert list(checkout.store.temporary.iterdir()) == []


def test_two_builds_at_once_make_one_image(checkout: Checkout) -> None:
    lock = make(checkout)
    for layer in lock.layers:
        checkout.store.path(layer.digest).unlink()
    script = SCRIPT + f"print({call(checkout)}.manifest)"
    builds = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].decode().strip() for process in builds] == [lock.manifest] * 2
    assert all(checkout.store.verified_path(layer.digest) for layer in lock.layers)


def test_a_killed_build_leaves_no_half_layer_and_the_next_one_works(checkout: Checkout) -> None:
    lock = make(checkout)
    for layer in lock.layers:
        checkout.store.path(layer.digest).unlink()
    script = SCRIPT + (
        "import os, harness.images.assembly as assembly\n"
        "def endless(_):\n"
        "    yield b'x' * 5000\n"
        "    os.write(1, b'writing\\n')\n"
        "    while True:\n        yield b'x' * 1000\n"
        "assembly.layer_chunks = endless\n"
        f"{call(checkout)}"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert not any(checkout.store.has(layer.digest) for layer in lock.layers)
    again = Checkout.__new__(Checkout)
    again.root, again.store = checkout.root, Store(checkout.store.home)
    assert list(again.store.temporary.iterdir()) == []
    assert rebuild(again) == lock


def test_too_many_layers_are_refused(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.images.plan.MAX_LAYERS", 3)
    with pytest.raises(UsageError, match=r"4 layers.*\n.*large_wheel"):
        make(checkout)


def test_notes_say_what_is_done(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    make(checkout)
    notes: list[str] = []
    monkeypatch.setattr(SILENT, "note", notes.append)
    checkout.spec += "postinst: {base: nothing to do}\n"
    rebuild(checkout.write())  # another spec, but the same image
    assert len(notes) == 1
    assert notes[0].startswith("spec changed")


def _needing(needs: str, fields: str = "") -> bytes:
    return deb("base", [], control=f"Package: base\nVersion: 1.0\nArchitecture: amd64\n{fields}{needs}\n")


@pytest.mark.parametrize(
    "needs",
    [
        "Depends: missing | python3.11 (>= 1.0)",
        "Depends: missing [arm64], python3.11",
        "Pre-Depends: virtual (= 2)\nProvides: virtual (= 2)",
    ],
)
def test_packages_whose_needs_the_lock_meets_are_taken(needs: str, checkout: Checkout) -> None:
    checkout.debs["base"] = _needing(needs)
    make(checkout.write())


@pytest.mark.parametrize(
    "needs", ["Depends: missing", "Depends: python3.11 (>> 1.0)", "Pre-Depends: virtual (= 2)\nProvides: virtual"]
)
def test_a_lock_without_what_a_package_needs_is_refused(needs: str, checkout: Checkout) -> None:
    checkout.debs["base"] = _needing(needs)
    with pytest.raises(IntegrityError, match=r"nothing that base \(1.0\) needs: "):
        make(checkout.write())


@pytest.mark.parametrize("old", ["packages: [base]", "requirements: [small]"])
def test_a_lock_without_what_the_spec_names_makes_no_image(old: str, checkout: Checkout) -> None:
    checkout.spec = checkout.spec.replace(old, old.replace("]", ", absent]"))
    with pytest.raises(IntegrityError, match=r"(lacks|does not meet) absent, which docker/tiny\.yaml") as refused:
        make(checkout.write())
    assert "harness lock tiny" in (refused.value.hint or "")
    assert not (checkout.folder / "image.lock").exists()


def test_a_lock_with_another_version_than_the_spec_asks_for_makes_no_image(checkout: Checkout) -> None:
    checkout.spec = checkout.spec.replace("requirements: [small]", "requirements: [small>=1]")
    make(checkout.write())
    checkout.spec = checkout.spec.replace("small>=1", "small>=2")
    with pytest.raises(IntegrityError, match=r"python\.txt does not meet small>=2"):
        make(checkout.write())


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ("Requires-Dist: large>=1", None),
        ("Requires-Dist: large>=2", "does not meet large>=2, which small needs"),
        ("Requires-Dist: absent", "does not meet absent, which small needs"),
        ("Requires-Dist: absent; platform_machine == 'aarch64'", None),
        ("Requires-Dist: absent; extra == 'more'", None),
        ("Requires-Python: >=3.11", None),
        ("Requires-Python: at least three", None),
        ("Requires-Python: >=3.12", r"small-1\.0.* needs Python >=3\.12, and the image has 3\.11"),
    ],
)
@pytest.mark.parametrize("again", [False, True])
def test_a_wheel_whose_needs_the_lock_does_not_meet_makes_no_image(
    again: bool, metadata: str, problem: str | None, checkout: Checkout
) -> None:
    checkout.wheels["small"] = wheel("small", {"small/__init__.py": b""}, metadata=f"{metadata}\n")
    checkout.write()
    if problem is None:
        make(checkout)
        return
    for _ in range(1 + again):  # also where the wheel was read before
        with pytest.raises(IntegrityError, match=problem):
            make(checkout)
    assert not (checkout.folder / "image.lock").exists()


def test_a_file_for_another_architecture_is_refused_in_a_lock(checkout: Checkout) -> None:
    path = checkout.folder / "debian.lock"
    read_debian_lock(path)
    path.write_text(path.read_text().replace("base_1.0_amd64.deb", "base_1.0_arm64.deb"))
    with pytest.raises(IntegrityError, match="the file of base is for arm64, not amd64"):
        read_debian_lock(path)
