import ast
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from image_packages import Checkout

from harness.cli import main as command
from harness.errors import OutdatedLockError, ToolError, UsageError
from harness.images import build as build_module
from harness.images import rebuild
from harness.images import verify as verify_module
from harness.images.build import build, open_image
from harness.images.export import export_layout
from harness.images.verify import Proof, verify
from harness.locking.imagelock import ImageLock
from harness.locking.lockfile import write_lock
from harness.spec.digest import digest_from_hex
from harness.store.store import Store
from tests.tools import lack

ALWAYS = {"umask", "time zone", "locale", "working folder", "home", "order of files", "inflater", "hash seed"}
IN_MEMORY = Path("/dev/shm")  # a tmpfs, whose folders list what was made last first

# What a careless builder would do. Each is put before the real one, which then runs with it.
FAULTS = {
    "mtime": """
import struct, time, harness.images.layer as layer, harness.images.tar as tar
def stamped(path, kind, mode, **rest):
    block = bytearray(real(path, kind, mode, **rest))
    if path.endswith("usr/bin/python3.11"):
        block[136:147] = b"%011o" % int(time.time())
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\\0 " % sum(block)
    return bytes(block)
real, layer.header = layer.header, stamped
""",
    "mode": """
import os, harness.images.layer as layer
umask = os.umask(0)
os.umask(umask)
real = layer.header
layer.header = lambda path, kind, mode, **rest: real(path, kind, mode & ~umask, **rest)
""",
    "order": """
import os, harness.images.plan as plan
from harness.images.layer import PlannedLayer
real = plan.plan_layers
def shuffled(*arguments, **rest):
    turn = slice(None, None, -1 if os.environ["PYTHONHASHSEED"] == "2" else 1)
    return [PlannedLayer(layer.name, layer.entries[turn], layer.size) for layer in real(*arguments, **rest)]
plan.plan_layers = shuffled
""",
    "content": """
import harness.images.content as content
class Inline(content.Inline):
    def __init__(self, data):
        super().__init__(data.replace(b"hosts: files", b"hosts: " + __import__("time").strftime("%z").encode()))
import harness.images.plan as plan
plan.Inline = Inline
""",
    "version": """
import os, harness.images.layer as layer
real = layer.header
def written(path, kind, mode, **rest):
    block = bytearray(real(path, kind, mode, **rest))
    block[330:331] = b"1" if "below" in os.getcwd() else b"0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\\0 " % sum(block)
    return bytes(block)
layer.header = written
""",
}
FOUND = {
    "mtime": ("debian", "usr/bin/python3.11", "mtime"),
    "mode": ("debian", "bin", "mode"),
    "order": ("debian", "var/local", "order"),
    "content": ("configuration", "etc/nsswitch.conf", "content"),
    "version": ("debian", "bin", "checksum"),
}


@pytest.fixture
def built(checkout: Checkout) -> Checkout:
    build("tiny", root=checkout.root, store=checkout.store, update=True)
    return checkout


def proof(checkout: Checkout, builder: Sequence[str] = verify_module._BUILDER) -> Proof:
    return verify("tiny", root=checkout.root, store=checkout.store, builder=builder)


def faulty(code: str) -> list[str]:
    return [sys.executable, "-c", f"{code}\nimport sys, harness.images.rebuild as rebuild\nsys.exit(rebuild.main())"]


def objects(checkout: Checkout) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (checkout.store.home / "objects").rglob("*") if path.is_file()}


def test_two_builds_under_different_conditions_come_to_the_locked_image(built: Checkout) -> None:
    before, lock = objects(built), (built.folder / "image.lock").read_bytes()
    found = proof(built)
    assert found.holds
    assert found.finding is None
    assert found.first == found.second == found.expected == msgspec.json.decode(lock)["manifest"]
    effective = {condition.name for condition in found.conditions if condition.in_effect}
    assert effective >= ALWAYS
    assert ("cores" in effective) == (len(os.sched_getaffinity(0)) > 1)
    assert ("user" in effective) == (os.geteuid() == 0)
    assert {condition.name for condition in found.untried} == {one.name for one in found.conditions} - effective
    assert all(condition.why for condition in found.untried)
    assert (objects(built), (built.folder / "image.lock").read_bytes()) == (before, lock)
    assert list(built.store.temporary.iterdir()) == []


@pytest.mark.skipif(not os.access(IN_MEMORY, os.W_OK), reason="this system has no file system in memory")
def test_the_order_of_files_differs_where_folders_list_them_as_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        Path(folder).chmod(0o711)  # for the second build's user
        monkeypatch.setattr(tempfile, "tempdir", folder)
        checkout = Checkout(Path(folder) / "checkout", Store(Path(folder) / "store")).write()
        build("tiny", root=checkout.root, store=checkout.store, update=True)
        found = proof(checkout)
        assert found.holds
        order = next(condition for condition in found.conditions if condition.name == "order of files")
        assert (order.first, order.second) == ("debian.lock python.txt", "python.txt debian.lock")


def test_an_image_over_a_base_is_built_twice_from_that_base(built: Checkout) -> None:
    with open_image("tiny", root=built.root, store=built.store) as image:
        export_layout(image, built.root / "exported")
        digest = image.lock.manifest
    built.spec += f"base: oci-layout:exported@{digest}\n"
    assert len(build("tiny", root=built.write().root, store=built.store, update=True).layers) > 4
    assert proof(built).holds


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may build as another user")
def test_root_builds_once_as_somebody_else(built: Checkout) -> None:
    user = next(condition for condition in proof(built).conditions if condition.name == "user")
    assert (user.first, user.second) == ("0", "65534")


def test_the_clock_is_another_where_there_is_a_library_for_it(built: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    def clock() -> tuple[str, str]:
        return next((one.second, one.why) for one in proof(built).conditions if one.name == "clock")

    date, why = clock()
    assert date == "2001-02-03" or "libfaketime is not installed" in why
    monkeypatch.setattr(verify_module, "_CLOCKS", ())
    assert "libfaketime is not installed" in clock()[1]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_careless_builder_is_caught_and_the_field_is_named(fault: str, built: Checkout) -> None:
    found = proof(built, faulty(FAULTS[fault]))
    if fault == "mtime" and not next(one for one in found.conditions if one.name == "clock").in_effect:
        lack("libfaketime")
    assert not found.holds
    assert found.first != found.second
    assert found.finding is not None
    assert found.finding.between == "the first and the second build"
    assert (found.finding.layer, found.finding.member, found.finding.field) == FOUND[fault]


def test_a_lock_that_both_builds_miss_is_named(built: Checkout) -> None:
    always = "import harness.images.layer as layer\nreal = layer.header\n" + (
        "layer.header = lambda path, kind, mode, **rest: real(path, kind, 0o700, **rest)\n"
    )
    found = proof(built, faulty(always))
    assert found.first == found.second != found.expected
    assert found.finding is not None
    assert found.finding.between == "the lock and both builds"
    assert (found.finding.member, found.finding.field) == ("bin", "mode")
    layer = ImageLock(**msgspec.json.decode((built.folder / "image.lock").read_bytes(), type=dict)).layers[0]
    built.store.path(layer["digest"]).unlink()  # type: ignore[index]
    again = proof(built, faulty(always)).finding
    assert again is not None
    assert (again.layer, again.member) == ("debian", "")


def test_a_build_that_fails_says_which_and_why(built: Checkout) -> None:
    with pytest.raises(ToolError, match=r"The second build of tiny failed: .*no locale for me"):
        proof(built, faulty("import os\nif os.environ['LC_ALL'] != 'C': raise SystemExit('no locale for me')"))
    assert list(built.store.temporary.iterdir()) == []


def test_an_image_that_is_not_locked_or_older_than_its_inputs_is_refused(checkout: Checkout) -> None:
    with pytest.raises(UsageError, match=r"no .*image\.lock"):
        proof(checkout)
    lock = build("tiny", root=checkout.root, store=checkout.store, update=True)
    old = lock.inputs | {"spec": digest_from_hex("0" * 64)}
    write_lock(checkout.folder / "image.lock", msgspec.structs.replace(lock, inputs=old))
    with pytest.raises(OutdatedLockError, match="spec changed"):
        proof(checkout)


Harness = Callable[..., tuple[int, str, str]]


@pytest.fixture
def harness(built: Checkout, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Harness:
    """Call `harness image verify tiny` in this process, with a builder: exit code, stdout, stderr."""

    def call(*options: str, builder: Sequence[str] = verify_module._BUILDER) -> tuple[int, str, str]:
        monkeypatch.setattr(verify_module, "verify", partial(verify, builder=builder))
        monkeypatch.setattr(sys, "argv", ["harness", "image", "verify", "tiny", *options])
        with pytest.raises(SystemExit) as stop:
            command.main()
        out, error = capfd.readouterr()
        return int(stop.value.code or 0), out, error

    monkeypatch.chdir(built.root)
    monkeypatch.setenv("HARNESS_HOME", str(built.store.home))
    return call


def test_the_command_says_what_differed_and_that_the_image_came_out(harness: Harness, built: Checkout) -> None:
    code, out, _ = harness()
    assert code == 0
    rows = {cells[1].strip(): cells for line in out.splitlines() if len(cells := line.split("│")) == 6}
    assert [cell.strip() for cell in rows["umask"][2:5]] == ["0022", "0077", "yes"]
    manifest = msgspec.json.decode((built.folder / "image.lock").read_bytes())["manifest"]
    assert out.count(f"tiny@{manifest}") == 3
    assert "Between" not in out


def test_the_command_names_the_difference_of_a_careless_builder_and_answers_4(harness: Harness) -> None:
    careless = faulty(FAULTS["mode"])
    code, out, _ = harness(builder=careless)
    assert code == 4
    assert "Between the first and the second build: layer debian is sha256:" in out
    assert "/bin has mode" in out
    code, out, _ = harness("--json", "--every-condition", builder=careless)
    assert code == 4
    document: dict[str, Any] = json.loads(out)
    assert (document["finding"]["layer"], document["finding"]["member"]) == ("debian", "bin")
    assert document["first"] != document["second"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_condition_that_could_not_be_tried_is_a_failure_where_every_one_is_asked_for(
    harness: Harness, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "_CLOCKS", ())
    assert harness(*options)[0] == 0
    code, out, error = harness("--every-condition", *options)
    assert code == 3
    assert "Not tried: clock: libfaketime is not installed" in error
    assert "libfaketime is not installed" in out


def test_every_condition_is_enough_where_all_could_be_tried(harness: Harness) -> None:
    code, out, error = harness("--json", "--every-condition")
    untried = [one["name"] for one in json.loads(out)["conditions"] if one["first"] == one["second"]]
    assert code == (3 if untried else 0)
    assert error.count("Not tried: ") == len(untried)


def test_another_user_needs_no_module_that_is_loaded_late() -> None:
    """It may not be able to read where the harness lies."""
    tree = ast.parse(Path(build_module.__file__).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    late = {node.module for function in functions for node in ast.walk(function) if isinstance(node, ast.ImportFrom)}
    assert "harness.images.plan" in late
    assert late <= set(rebuild._LATE_MODULES)
