"""`harness init`: a spec and locks for somebody's project, all of it or nothing."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from harness.cli import main as command
from harness.engines import container
from harness.errors import IntegrityError, ToolError, UsageError
from harness.locking import initial as initial_module
from harness.locking import lock as lock_module
from harness.locking import template as template_module
from harness.locking.check import check
from harness.locking.difference import LockChange
from harness.locking.imagespec import load_image_spec, spec_path
from harness.locking.initial import Initial, Wanted, check_free, prepare
from harness.locking.lock import lock
from harness.locking.place import place
from harness.locking.project import read_project
from harness.locking.template import render_spec, template
from harness.record.hashing import digest_of_file
from harness.runs.inputs import PROJECT
from harness.runs.project import find_root
from harness.store.progress import SILENT
from harness.store.store import Store

CHECKOUT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "data"
TEMPLATE = """\
# A template.
name: small
variant: cpu

debian:
  suite: testing
  component: main
  architecture: amd64
  packages:
    - app # needed
  exclude:
    - usr/share/doc/*

python:
  version: "3.11"
  platform: x86_64-manylinux_2_36
  requirements:
    - demo
  exclude:
    - "*/tests/*"
    - torch/test/*

users:
  - {name: root, uid: 0, home: /root}

files:
  /etc/nsswitch.conf: |
    hosts: files

# Read.
postinst:
  app: does nothing
"""


@pytest.fixture(autouse=True)
def small(monkeypatch, keyring):
    """New specs are made from one whose packages the test's archive has."""
    template.cache_clear()
    monkeypatch.setattr(template_module, "_text", lambda: TEMPLATE)
    monkeypatch.setattr(lock_module, "KEYRINGS", (keyring,))
    yield
    template.cache_clear()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "requirements.txt").write_text("demo\n")
    return tmp_path / "mine"


def prepared(
    project: Path,
    store: Store,
    environment: dict[str, str],
    reviewed: Sequence[str] = (),
    announce: Callable[[tuple[LockChange, ...]], None] | None = None,
    **wanted: object,
) -> Initial:
    found = read_project(project, environment=environment)
    asked = Wanted(**{"name": "cpu", **wanted})  # type: ignore[arg-type]
    options = {"environment": environment, "reviewed": reviewed, "announce": announce}
    return prepare(found, asked, store, progress=SILENT, **options)  # type: ignore[arg-type]


def listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_project_gets_a_spec_and_locks_that_fit_it(project, store, environment, links):
    before = listing(project)
    initial = prepared(project, store, environment, apt=("library",))
    assert listing(project) == before
    place(project, initial.files)
    spec = load_image_spec(project, "cpu")
    assert spec.debian.packages == ("app", "library")
    assert spec.python.requirements == ("demo",)
    assert find_root(project / "anything" / "below") == project
    problems = check(project, ["cpu"])
    assert [problem.remedy for problem in problems] == ["harness build cpu --update"]
    assert lock(project, None, store, progress=SILENT, environment=environment).written == ()


def test_the_spec_is_the_template_with_the_projects_own_in_it(monkeypatch):
    monkeypatch.undo()
    template.cache_clear()
    text = render_spec(
        name="mine",
        title="t",
        variant="cpu",
        requirements=["a>=1", 'b; python_version < "3.12"'],
        apt=["libgl1", "bash"],
        waive={"libgl1-mesa-dri": 'no: "quotes" # or hashes'},
        files={"/x.pth": "/y\n/z\n"},
    )
    made = template_module.parse_document(text, type(template()), "x")
    ours = template()
    assert made.debian.packages == (*ours.debian.packages, "libgl1")
    assert made.debian.exclude == ours.debian.exclude
    assert made.python.requirements == ("a>=1", 'b; python_version < "3.12"')
    assert (made.users, made.links) == (ours.users, ours.links)
    assert made.files == {**ours.files, "/x.pth": "/y\n/z\n"}
    assert made.postinst == {**ours.postinst, "libgl1-mesa-dri": 'no: "quotes" # or hashes'}
    assert "it is also /bin/sh" in text
    template.cache_clear()


def test_the_template_is_the_cpu_images_own_spec(monkeypatch):
    monkeypatch.undo()
    template.cache_clear()
    assert template() == load_image_spec(CHECKOUT, "cpu")
    template.cache_clear()


def test_a_base_is_written_into_the_spec():
    base = "oci-layout:base@sha256:" + "a" * 64
    text = render_spec(name="x", title="t", variant="cpu", requirements=["a"], base=base)
    assert template_module.parse_document(text, type(template()), "x").base == base


def test_constraints_on_what_is_needed_become_requirements(project, store, environment, links, make_wheel):
    make_wheel(links, "demo", "2.0")
    (project / "requirements.txt").write_text("demo\n-c bounds.txt\n")
    (project / "bounds.txt").write_text("demo<2\nunknown==1\n")
    initial = prepared(project, store, environment)
    assert initial.requirements == ("demo", "demo<2")
    assert b"demo==1.0" in initial.files["lockfiles/cpu/python.txt"]


def test_the_build_without_cuda_is_taken_for_a_cpu(project, store, environment, links, make_wheel):
    make_wheel(links, "torch", "2.0")
    make_wheel(links, "torch", "1.9+cpu")
    (project / "requirements.txt").write_text("torch>=1\n")
    initial = prepared(project, store, environment)
    assert initial.requirements == ("torch==1.9+cpu",)
    assert any("build without CUDA" in note for note in initial.notes)
    assert prepared(project, store, environment, variant="cuda").requirements == ("torch>=1",)
    (project / "requirements.txt").write_text("torch>=2\n")
    with pytest.raises(ToolError, match=r"requirements\.txt cannot be resolved"):
        prepared(project, store, environment)


def test_a_wheel_must_be_among_the_hashes_that_the_project_gives(project, store, environment, links):
    right = digest_of_file(links / "demo-1.0-py3-none-any.whl")
    (project / "requirements.txt").write_text(f"demo==1.0 --hash={right}\n")
    assert prepared(project, store, environment)
    (project / "requirements.txt").write_text(f"demo==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(IntegrityError, match=r"gives hashes for demo, and demo-1.0-py3-none-any.whl"):
        prepared(project, store, environment)


@pytest.mark.parametrize(
    ("text", "apt", "said"),
    [
        ("nowhere\n", (), r"requirements.txt cannot be resolved for Python 3.11 on Linux: .*nowhere"),
        ("demo>=5\n", (), "demo>=5"),
        ("# nothing\n", (), "asks for no package"),
        ("demo\n", ("missing",), "no package missing"),
    ],
)
def test_what_cannot_be_had_is_said_in_plain_words(text, apt, said, project, store, environment, links):
    (project / "requirements.txt").write_text(text)
    before = listing(project)
    with pytest.raises((ToolError, UsageError), match=said) as raised:
        prepared(project, store, environment, apt=apt)
    assert not [mark for mark in ("\N{MULTIPLICATION SIGN}", "╰", "/uv", "exit code") if mark in str(raised.value)]
    assert listing(project) == before


def test_a_maintainer_script_that_is_not_waived_says_how_to(project, store, environment, links, monkeypatch):
    monkeypatch.setattr(template_module, "_text", lambda: TEMPLATE.replace("  app: does nothing", "  app2: x"))
    template.cache_clear()
    with pytest.raises(UsageError, match="of app is not waived") as raised:
        prepared(project, store, environment)
    assert "--waive" in str(raised.value.hint)


def test_nothing_that_is_there_is_replaced_without_force(project, store, environment, links):
    check_free(project, "cpu", force=False)
    place(project, prepared(project, store, environment).files)
    with pytest.raises(UsageError, match="is there already"):
        check_free(project, "cpu", force=False)
    check_free(project, "cpu", force=True)
    check_free(project, "other", force=False)
    spec_path(project, "cpu").unlink()
    with pytest.raises(UsageError, match=r"debian\.lock is there already"):
        check_free(project, "cpu", force=False)


def test_with_force_waivers_are_for_the_scripts_of_the_lock_that_is_there(project, store, environment, links, mirror):
    place(project, prepared(project, store, environment).files)
    path = project / "lockfiles" / "cpu" / "debian.lock"
    assert prepared(project, store, environment).files["lockfiles/cpu/debian.lock"] == path.read_bytes()
    shutil.rmtree(mirror)
    shutil.copytree(DATA / "next", mirror)
    assert prepared(project, store, environment).files["lockfiles/cpu/debian.lock"] == path.read_bytes()
    with pytest.raises(UsageError, match=r"postinst of app is waived, but changed from 1:1\.0-1 to 1:1\.1-1") as caught:
        prepared(project, store, environment, apt=("library",))
    assert "--reviewed app" in str(caught.value.hint)
    assert prepared(project, store, environment, name="other", apt=("library",))  # which has no lock yet
    assert prepared(project, store, environment, apt=("library",), reviewed=["app"])


def test_with_force_what_is_locked_stays_where_it_fits_and_what_changes_is_announced(
    project, store, environment, links, make_wheel
):
    (project / "requirements.txt").write_text("demo==1.0\n")
    first, told = prepared(project, store, environment, announce=None), []
    assert first.changes == ()
    place(project, first.files)
    make_wheel(links, "demo", "2.0")
    make_wheel(links, "more")
    (project / "requirements.txt").write_text("demo\nmore\n")
    again = prepared(project, store, environment, announce=told.append)
    assert b"demo==1.0" in again.files["lockfiles/cpu/python.txt"]
    assert [(change.package, change.before, change.after) for change in again.changes] == [("more", None, "1.0")]
    assert told == [again.changes]
    (project / "requirements.txt").write_text("demo>1\n")
    moved = prepared(project, store, environment)
    assert [(change.package, change.before, change.after) for change in moved.changes] == [("demo", "1.0", "2.0")]
    assert moved.changes[0].required_by == ("demo>1",)
    place(project, moved.files)
    (project / "lockfiles/cpu/python.txt").write_text("damaged")
    assert prepared(project, store, environment).files == moved.files


def test_the_command_shows_what_changes_before_it_writes_and_in_json(
    project, store, environment, links, make_wheel, monkeypatch, capfd
):
    for name, value in {**environment, "HARNESS_HOME": str(store.home), "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)

    def init(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["harness", "init", "--project", str(project), *arguments])
        with pytest.raises(SystemExit) as stop:
            command.main()
        assert not stop.value.code
        return capfd.readouterr().out

    assert "Changes:" not in init()
    make_wheel(links, "more")
    (project / "requirements.txt").write_text("demo\nmore\n")
    told = json.loads(init("--force", "--dry-run", "--json"))
    assert [(change["package"], change["kind"], change["after"]) for change in told["changes"]] == [
        ("more", "added", "1.0")
    ]
    out = init("--force")
    assert "lockfiles/cpu/python.txt │ more" in out
    assert -1 < out.index("Changes: 1.") < out.index("wrote ")
    assert json.loads(init("--force", "--json"))["changes"] == []


def test_with_force_a_build_without_cuda_stays_too(project, store, environment, links, make_wheel):
    (project / "requirements.txt").write_text("torch\n")
    make_wheel(links, "torch", "2.0")
    make_wheel(links, "torch", "1.9+cpu")
    place(project, prepared(project, store, environment).files)
    make_wheel(links, "torch", "1.9.1+cpu")
    assert prepared(project, store, environment).requirements == ("torch==1.9+cpu",)
    assert prepared(project, store, environment, name="other").requirements == ("torch==1.9.1+cpu",)


@pytest.mark.parametrize(("wanted", "refused"), [(">=3.11.2", False), (">=3.11.9", True), ("!=3.11.2", True)])
def test_the_locked_interpreter_is_held_against_requires_python(
    wanted, refused, project, store, environment, links, monkeypatch
):
    (project / "pyproject.toml").write_text(
        f"[project]\nname='mine'\nrequires-python='{wanted}'\ndependencies=['demo']\n"
    )
    resolve_debian = lock_module.resolve_debian

    def resolved(*arguments, **options):
        found = resolve_debian(*arguments, **options)
        packages = [
            msgspec.structs.replace(package, name="python3.11", version="3.11.2-6+deb12u8")
            if package.name == "library"
            else package
            for package in found.lock.packages
        ]
        packages.sort(key=lambda package: package.name)
        return msgspec.structs.replace(found, lock=msgspec.structs.replace(found.lock, packages=tuple(packages)))

    monkeypatch.setattr(lock_module, "resolve_debian", resolved)
    if not refused:
        assert b'"3.11.2-6+deb12u8"' in prepared(project, store, environment).files["lockfiles/cpu/debian.lock"]
        return
    before = listing(project)
    with pytest.raises(UsageError, match=rf"Python {wanted}, and Debian's python3\.11 3\.11\.2-6\+deb12u8 is 3\.11\.2"):
        prepared(project, store, environment)
    assert listing(project) == before


def test_names_of_folders_and_files_stay_in_the_specs_first_line(tmp_path, store, environment, links):
    folder = tmp_path / "odd\npostinst: {app: no}"
    folder.mkdir()
    (folder / "r\nname: x.txt").write_text("demo\n")
    found = read_project(folder, file=folder / "r\nname: x.txt", environment=environment)
    initial = prepare(found, Wanted(name="cpu"), store, progress=SILENT, environment=environment)
    place(folder, initial.files)
    assert load_image_spec(folder, "cpu").postinst == {"app": "does nothing"}


def test_with_force_and_a_damaged_lock_nobody_can_tell_which_scripts_were_waived(project, store, environment, links):
    place(project, prepared(project, store, environment).files)
    path = project / "lockfiles" / "cpu" / "debian.lock"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UsageError, match=r"postinst of app is waived, but debian\.lock.* is damaged"):
        prepared(project, store, environment)
    assert prepared(project, store, environment, reviewed=["app"])
    path.unlink()
    assert prepared(project, store, environment)


def test_the_projects_own_code_is_found_where_programs_run(project, store, environment, links):
    (project / "setup.py").touch()
    (project / "src").mkdir()
    initial = prepared(project, store, environment)
    place(project, initial.files)
    found = load_image_spec(project, "cpu").files["/usr/local/lib/python3.11/dist-packages/project.pth"]
    folder = f"{container._FOLDER}/output/{PROJECT}"
    assert found == f"{folder}\n{folder}/src\n"


def test_the_trainer_adds_what_it_imports(project, store, environment, links, make_wheel):
    for name in initial_module.TRAINER:
        make_wheel(links, name.replace("-", "_"))
    assert set(initial_module.TRAINER) < set(prepared(project, store, environment, trainer=True).requirements)


def test_in_a_users_project_there_are_no_locks_but_those_of_images(project, store, environment, links):
    (project / "pyproject.toml").write_text("[project]\nname='mine'\ndependencies=['demo']\n")
    place(project, prepared(project, store, environment).files)
    assert lock(project, None, store, progress=SILENT, environment=environment).written == ()
    assert [problem.lock for problem in check(project)] == ["lockfiles/cpu/image.lock"]
    shutil.rmtree(project / "lockfiles")
    lock(project, None, store, progress=SILENT, environment=environment)
    assert {path.name for path in (project / "lockfiles").iterdir()} == {"cpu"}
