"""`harness drift` with the real engine: a small image, a baseline made for real, and changes planted for real.

The image holds what the trainer needs and no library besides; everything else is a real project's.
"""

import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from debian.arfile import ArFile
from debian.debfile import DebFile

from harness.engines.connection import connect
from harness.engines.docker import DockerEngine
from harness.engines.host_environment import IMAGE as HOST_IMAGE
from harness.images.build import build
from harness.locking.check import input_digests
from harness.locking.debian import DebianPackage, read_debian_lock
from harness.locking.imagespec import debian_inputs, load_image_spec, python_inputs
from harness.locking.lockfile import write_lock
from harness.locking.python import LockedWheel, encode_python_lock, read_python_lock
from harness.record.hashing import signature
from harness.release.baseline import read_baseline, sealed, write_baseline
from harness.release.create import GoldenRequest, create_baseline
from harness.release.drift import DriftRequest, check_drift
from harness.release.observe import sources
from harness.release.report import Answer, Kind
from harness.release.site import Site
from harness.runs.machine import gpu_driver
from harness.store.progress import SILENT
from harness.store.store import Store

sys.path.insert(0, str(Path(__file__).parents[2] / "images"))

from image_packages import deb, record_row

pytestmark = pytest.mark.docker

CHECKOUT = Path(__file__).parents[3]
NAME = "drift-test"
REQUIREMENTS = ("msgspec", "numpy", "pyarrow", "pyyaml", "rfc8785", "threadpoolctl")
EXPERIMENT = """
name: tiny
data: {path: panel.csv}
features: [ret_1d, vol_5d]
targets: [fwd_ret_5d]
families:
  ridge: {alpha: 1.0}
folds: {count: 1, min_train: 150}
"""


class Project:
    """A checkout with one small image. Packages and wheels are the CPU image's, and locks are written from them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store.default()
        self.site = Site(root=root, store=self.store, progress=SILENT, results=root / "RESULTS")

    def write(self, name: str = NAME, **fields: Any) -> "Project":
        """Spec and locks of an image, but for its image.lock; `fields` replace those of the spec."""
        spec = yaml.safe_load((CHECKOUT / "docker" / f"{HOST_IMAGE}.yaml").read_text())
        spec |= {"name": name, **fields}
        spec["python"]["requirements"] = list(REQUIREMENTS)
        (self.root / "docker").mkdir(parents=True, exist_ok=True)
        (self.root / "docker" / f"{name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        locks = CHECKOUT / "lockfiles" / HOST_IMAGE
        self.lock(read_debian_lock(locks / "debian.lock").packages, read_python_lock(locks / "python.txt").wheels, name)
        return self

    def lock(self, packages: tuple[DebianPackage, ...], wheels: tuple[LockedWheel, ...], name: str = NAME) -> None:
        spec, folder = load_image_spec(self.root, name), self.root / "lockfiles" / name
        locks = CHECKOUT / "lockfiles" / HOST_IMAGE
        folder.mkdir(parents=True, exist_ok=True)
        debian, python = read_debian_lock(locks / "debian.lock"), read_python_lock(locks / "python.txt")
        inputs = signature(debian_inputs(spec))
        write_lock(folder / "debian.lock", msgspec.structs.replace(debian, inputs=inputs, packages=packages))
        wanted = tuple(wheel for wheel in wheels if wheel.name in REQUIREMENTS)
        inputs = signature(python_inputs(spec))
        lock = msgspec.structs.replace(python, inputs=inputs, wheels=wanted)
        (folder / "python.txt").write_bytes(encode_python_lock(lock))

    def copy(self, root: Path) -> "Project":
        """The same project elsewhere: its name goes by its pyproject.toml."""
        for name in ("docker", "lockfiles"):
            shutil.copytree(self.root / name, root / name)
        for name in ("pyproject.toml", "tiny.yaml", "panel.csv"):
            shutil.copy(self.root / name, root / name)
        return Project(root)

    def harness(self, *arguments: object, code: Path = CHECKOUT, **variables: str) -> subprocess.CompletedProcess[str]:
        """The command, from the code in the folder `code`."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("REPRO_")}
        return subprocess.run(
            [sys.executable, "-m", "harness", *map(str, arguments)], cwd=self.root, stdin=subprocess.DEVNULL,
            env=inherited | {"PYTHONPATH": str(code)} | variables, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip

    def drift(self, *arguments: object, code: Path = CHECKOUT, **variables: str) -> tuple[int, dict[str, Any]]:
        """`harness drift --json`: its exit code, and the report."""
        done = self.harness("drift", "--json", *arguments, code=code, **variables)
        assert done.stdout, done.stderr
        report = json.loads(done.stdout)
        assert report["exit_code"] == done.returncode
        return done.returncode, report

    @property
    def baseline(self) -> Path:
        return self.site.baselines / "v1.json"


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, docker_engine: DockerEngine, panel_writer: Callable[..., None]
) -> Iterator[Project]:
    """A project with a baseline of its one environment, and of a golden run in it."""
    root = tmp_path_factory.mktemp("project")
    (root / "pyproject.toml").write_text('[project]\nname = "drifting"\n')
    (root / "tiny.yaml").write_text(EXPERIMENT)
    panel_writer(root / "panel.csv", symbols=("AAA", "BBB", "CCC"), days=260)
    made = Project(root).write()
    build(NAME, root=root, store=made.store, update=True)
    create_baseline("v1", made.site, environments=[NAME], golden=[GoldenRequest("tiny.yaml")])
    yield made
    client = connect()
    for image in client.images.list(filters={"label": f"harness.image={NAME}"}):
        client.images.remove(image.id, force=True)


def roots(report: dict[str, Any]) -> dict[str, str]:
    """What changed and follows from nothing else, each with its kind."""
    changes = [change for each in report["environments"] for change in each["changes"]]
    return {f"{change['layer']} {change['path']}": change["kind"] for change in changes if not change["follows_from"]}


def test_ten_checks_of_an_unchanged_environment_find_nothing(project: Project) -> None:
    for _ in range(10):
        report = check_drift(DriftRequest(), project.site)
        (found,) = report.environments
        assert (report.exit_code, found.changes, found.not_tested) == (0, (), ())
        assert (found.environment, found.numbers, found.tested_by) == (Answer.UNCHANGED, Answer.UNCHANGED, ("probe",))


def test_a_survey_made_anew_and_the_golden_run_made_again_find_nothing_either(project: Project) -> None:
    files = [f"--format={name}={project.root / name}" for name in ("table", "markdown", "junit", "sarif", "html")]
    code, report = project.drift("--golden", "--fresh", "--output-dir", project.site.results, *files)
    (found,) = report["environments"]
    assert (code, found["changes"], found["not_tested"], found["expired"]) == (0, [], [], [])
    assert found["tested_by"] == ["probe", "golden"]
    assert [cell["answer"] for cell in found["golden"]] == ["unchanged"]
    assert found["golden"][0]["after"] == found["golden"][0]["before"]
    assert all((project.root / name).stat().st_size for name in ("table", "markdown", "junit", "sarif", "html"))


def rebuilt(store: Store, locked: LockedWheel) -> LockedWheel:
    """The wheel with a comment more in one of its modules, and nothing else about it changed."""
    module = f"{locked.name}/__init__.py"
    target = io.BytesIO()
    with zipfile.ZipFile(store.path(locked.digest)) as old, zipfile.ZipFile(target, "w") as new:
        changed = old.read(module) + b"# built again\n"
        for info in old.infolist():
            data = changed if info.filename == module else old.read(info)
            if info.filename.endswith(".dist-info/RECORD"):
                rows = data.decode().splitlines(keepends=True)
                data = "".join(
                    record_row(module, changed) if row.startswith(f"{module},") else row for row in rows
                ).encode()
            new.writestr(zipfile.ZipInfo(info.filename), data)
    return msgspec.structs.replace(locked, digest=store.put_bytes(target.getvalue()))


def upgraded(store: Store, package: DebianPackage, version: str) -> DebianPackage:
    """The package under another version, with the same files and without maintainer scripts."""
    path = str(store.path(package.digest))
    control = DebFile(path).control.get_content("control", encoding="utf-8")
    data = deb(
        package.name, (), control=control.replace(f"Version: {package.version}\n", f"Version: {version}\n"),
        data=lzma.decompress(ArFile(path).getmember("data.tar.xz").read()),
    )  # fmt: skip
    return msgspec.structs.replace(package, version=version, size=len(data), digest=store.put_bytes(data), scripts=())


@pytest.fixture(scope="module")
def planted(project: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    """The project with a change planted in several layers, and a harness whose table of variables was changed too."""
    changed = project.copy(tmp_path_factory.mktemp("planted") / "project")
    changed.write(
        users=[{"name": "root", "uid": 0, "home": "/root"}, {"name": "harness", "uid": 65532, "home": "/opt"}]
    )
    folder = changed.root / "lockfiles" / NAME
    packages, wheels = read_debian_lock(folder / "debian.lock").packages, read_python_lock(folder / "python.txt").wheels
    changed.lock(
        tuple(upgraded(project.store, one, "1.47.0-2+b3") if one.name == "libcom-err2" else one for one in packages),
        tuple(rebuilt(project.store, one) if one.name == "rfc8785" else one for one in wheels),
    )
    code = tmp_path_factory.mktemp("code")
    shutil.copytree(CHECKOUT / "harness", code / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CHECKOUT / "docker", code / "docker")  # seccomp.json
    table = code / "harness" / "spec" / "variables.py"
    assert '"TZ", "UTC"' in table.read_text()
    table.write_text(table.read_text().replace('"TZ", "UTC"', '"TZ", "Etc/UTC"'))
    done = changed.harness("build", NAME, "--update", code=code)
    assert done.returncode == 0, done.stderr
    return changed, code


def test_changes_planted_in_several_layers_are_named_and_nothing_else_is(
    planted: tuple[Project, Path], project: Project
) -> None:
    changed, code = planted
    answered, report = changed.drift("--output-dir", project.site.results, code=code)
    found = roots(report)
    assert found == {
        "os-package libcom-err2": "upgraded",
        "wheel rfc8785": "rebuilt",
        "variable TZ": "changed",
        "spec users/harness/home": "changed",
        "code inside": "changed",
    }
    (each,) = report["environments"]
    assert (answered, each["environment"], each["numbers"]) == (1, "changed", "not tested")
    assert [item["what"] for item in each["not_tested"]] == ["numbers behind code inside"]
    moved = {f"{change['layer']} {change['path']}": change["numbers"] for change in each["changes"]}
    assert moved["wheel rfc8785"] != "changed"
    (expired,) = each["expired"]
    assert expired["golden"] == "tiny.yaml/fwd_ret_5d/CROSS_SECTIONAL/all/ridge"
    assert set(expired["stored_runs"]) == {path.name for path in (project.site.results / "runs").iterdir()}
    followers = {f"{change['layer']} {change['path']}" for change in each["changes"] if change["follows_from"]}
    assert {"image manifest", "image config", "lock python.txt", "lock debian.lock", "spec digest"} <= followers


def test_waivers_are_drafted_refused_until_filled_in_used_expired_and_unmatched(
    planted: tuple[Project, Path], project: Project
) -> None:
    changed, code = planted
    draft = changed.root / "draft.yaml"
    assert changed.drift("--draft-waivers", draft, code=code)[0] == 1
    refused = changed.harness("drift", "--waivers", draft, code=code)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"{draft}, line 5: waivers[0].author is empty" in refused.stderr
    today = datetime.now(UTC).date()
    text = draft.read_text().replace('author: ""', "author: Ada").replace('reason: ""', "reason: Reviewed")

    def check(day: object, where: Project, code: Path) -> tuple[int, list[str]]:
        own = where.site.baselines / "v1.waivers.yaml"
        own.write_text(text.replace('expires: ""', f"expires: {day}"))
        try:
            answered, report = where.drift(code=code)
        finally:
            own.unlink()
        return answered, [waiver["state"] for waiver in report["waivers"]]

    assert check(today, changed, code) == (3, ["used"])  # what nobody tested, nobody can answer for
    assert check(today - timedelta(days=1), changed, code) == (1, ["expired"])
    assert check(today, project, CHECKOUT) == (1, ["unmatched"])


def test_a_lock_edited_by_hand_is_not_tested_and_named(project: Project, tmp_path: Path) -> None:
    edited = project.copy(tmp_path / "project")
    path = edited.root / "lockfiles" / NAME / "python.txt"
    locked = next(wheel for wheel in read_python_lock(path).wheels if wheel.name == "rfc8785")
    digest = signature("another file")
    path.write_text(path.read_text().replace(locked.digest, digest))
    report = check_drift(DriftRequest(), edited.site)
    (found,) = report.environments
    names = {change.name: change.kind for change in found.changes if not change.follows_from}
    assert names == {"wheel rfc8785": Kind.REBUILT}
    assert "lock python.txt" in {change.name for change in found.changes}
    assert (report.exit_code, found.numbers, found.measured_at) == (1, Answer.NOT_TESTED, None)
    assert "python.txt" in found.not_tested[0].reason


def test_without_an_engine_nothing_passes(project: Project) -> None:
    code, report = project.drift(DOCKER_HOST="unix:///nonexistent/docker.sock")
    (found,) = report["environments"]
    assert (code, found["changes"], found["environment"], found["numbers"]) == (3, [], "not tested", "not tested")
    assert "No Docker daemon answers" in found["not_tested"][0]["reason"]


@pytest.mark.skipif(gpu_driver() is not None, reason="a GPU is there, so that its environment can be run")
def test_an_environment_that_needs_a_gpu_is_not_tested(project: Project, tmp_path: Path) -> None:
    there = project.copy(tmp_path / "project").write("drift-gpu", variant="cuda")
    lock = sources(project.root, NAME).image
    assert lock is not None
    lock = msgspec.structs.replace(
        lock, name="drift-gpu", inputs=input_digests(there.root, load_image_spec(there.root, "drift-gpu"))
    )
    write_lock(there.root / "lockfiles" / "drift-gpu" / "image.lock", lock)  # no image of it is ever made here
    baseline = read_baseline(project.baseline)
    on_a_gpu = msgspec.structs.replace(
        baseline.environments[NAME], name="drift-gpu", sources=sources(there.root, "drift-gpu")
    )
    fields = {name: getattr(baseline, name) for name in ("project", "architecture", "commit", "dirty", "code")}
    write_baseline(sealed(release="v2", environments=[on_a_gpu], golden=[], **fields), there.site)
    answered, report = there.drift()
    (found,) = report["environments"]
    assert (answered, found["changes"], found["numbers"]) == (3, [], "not tested")
    assert "GPU" in found["not_tested"][0]["reason"]


@pytest.mark.parametrize(
    ("old", "new", "code", "named"),
    [
        ('"OMP_NUM_THREADS": "1"', '"OMP_NUM_THREADS": "8"', 4, "v1.json"),
        ('"schema": "harness.baseline/1"', '"schema": "harness.baseline/0"', 2, "harness.baseline/0"),
    ],
)
def test_a_baseline_with_a_changed_byte_or_of_another_schema_is_refused(
    project: Project, tmp_path: Path, old: str, new: str, code: int, named: str
) -> None:
    altered = project.copy(tmp_path / "project")
    assert old in altered.baseline.read_text()
    altered.baseline.write_text(altered.baseline.read_text().replace(old, new))
    refuses(altered, code, named)


@pytest.mark.parametrize(("field", "code", "named"), [("project", 2, "another"), ("architecture", 3, "another")])
def test_a_baseline_of_something_else_is_refused(
    project: Project, tmp_path: Path, field: str, code: int, named: str
) -> None:
    elsewhere = project.copy(tmp_path / "project")
    baseline = read_baseline(elsewhere.baseline)
    fields = {
        name: getattr(baseline, name) for name in type(baseline).__struct_fields__ if name not in ("schema", "digest")
    }
    fields |= {field: "another", "environments": list(baseline.environments.values())}
    write_baseline(sealed(**fields), elsewhere.site, replace=True)
    refuses(elsewhere, code, named)


def refuses(project: Project, code: int, named: str) -> None:
    done = project.harness("drift")
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("harness: ")
    assert named in done.stderr
    assert "Traceback" not in done.stderr
