"""A release's baseline, made, made again, shown, restored and run again for real."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import IntegrityError, OutdatedLockError
from harness.locking.check import check
from harness.locking.lockfile import encode_lock
from harness.record.archive import find_runs, load_run
from harness.record.hashing import digest_of
from harness.release.baseline import find_baseline
from harness.release.create import GoldenRequest, create_baseline
from harness.release.golden import check_golden, compare_golden, run_golden
from harness.release.observe import observe
from harness.release.report import ELSEWHERE, ENVIRONMENT, Answer
from harness.release.restore import restored
from harness.release.site import Site
from harness.spec.digest import Digest
from harness.store.progress import SILENT
from harness.store.store import Store

pytestmark = pytest.mark.docker

CHECKOUT = Path(__file__).parents[3]
NOTHING = Digest(f"sha256:{'0' * 64}")
RIDGE = """
name: ridge
data: {path: panel.csv}
features: [ret_1d, vol_5d]
targets: [fwd_ret_5d]
families: {ridge: {alpha: 1.0}}
folds: {count: 1, min_train: 150}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, docker_engine: Any, panel_writer: Any) -> Site:
    """A checkout with the CPU image and a small experiment, and the baseline v1.2 of it."""
    root = tmp_path_factory.mktemp("project")
    for name in ("docker", "lockfiles/cpu"):
        shutil.copytree(CHECKOUT / name, root / name)
    panel_writer(root / "panel.csv")
    (root / "ridge.yaml").write_text(RIDGE)
    site = Site(root=root, store=Store.default(), progress=SILENT, results=root / "RESULTS")
    create_baseline("v1.2", site, environments=["cpu"], golden=[GoldenRequest("ridge.yaml")])
    return site


def test_the_same_release_made_again_from_elsewhere_has_the_same_bytes(project, own_shop):
    path = project.baselines / "v1.2.json"
    first = path.read_bytes()
    folder = project.root / "docker"
    made = own_shop.harness(
        "baseline", "create", "--release", "v1.2", "--golden", "ridge.yaml", "--output-dir", project.results, cwd=folder
    )
    assert made.code == 0, made.stderr
    assert "nothing changed" in made.stderr
    assert path.read_bytes() == first
    shown = own_shop.harness("baseline", "show", cwd=folder)
    assert (shown.code, shown.stderr) == (0, "")
    assert shown.stdout in made.stdout
    assert "spearman_ic" in shown.stdout


def test_a_baseline_is_listed_and_shown_and_refused_once_a_byte_has_changed(project, own_shop, tmp_path):
    baseline = find_baseline(project, None)
    listed = own_shop.harness("baseline", "list", "--json", cwd=project.root)
    assert [entry["digest"] for entry in msgspec.json.decode(listed.stdout)] == [baseline.digest]
    shown = own_shop.harness("baseline", "show", "v1.2", "--json", cwd=project.root)
    assert msgspec.json.decode(shown.stdout, type=type(baseline)) == baseline
    copy = tmp_path / "v1.2.json"
    copy.write_bytes((project.baselines / "v1.2.json").read_bytes().replace(b'"AMD', b'"AMX').replace(b'"Int', b'"Inx'))
    refused = own_shop.harness("baseline", "show", copy)
    assert refused.code == 4
    assert "digest" in refused.sentence


def test_what_an_environment_was_made_from_is_written_to_build_from(project, own_shop, tmp_path):
    folder = tmp_path / "then"
    written = own_shop.harness("baseline", "restore", "v1.2", "--out", folder, cwd=project.root)
    assert written.code == 0, written.stderr
    assert check(folder, ["cpu"]) == []
    assert own_shop.harness("build", "cpu", cwd=folder).code == 0
    again = own_shop.harness("baseline", "restore", "v1.2", "--out", folder, cwd=project.root)
    assert (again.code, "not an empty folder" in again.sentence) == (2, True)


def test_the_old_environment_is_run_again_although_the_checkout_has_lost_it(project, monkeypatch, tmp_path):
    baseline = find_baseline(project, "v1.2")
    before, golden = baseline.environments["cpu"], baseline.golden
    monkeypatch.chdir(tmp_path)
    lost = msgspec.structs.replace(project, root=tmp_path / "lost", results=tmp_path / "RESULTS")
    shutil.copytree(project.root, lost.root)
    for name in ("image.lock", "debian.lock"):  # what the image is made from, and a plain process is not
        (lost.root / "lockfiles/cpu" / name).write_text("lost")
    with pytest.raises(IntegrityError):
        run_golden("cpu", "ridge.yaml", False, lost)
    cells, untested = check_golden(golden, before, observe("host", project).state, lost)
    assert untested == ()
    assert len(cells) == len(golden[0].cells) == 1
    for cell in cells:
        assert cell.distance is not None
        assert cell.distance.predictions > 100
        moved = cell.answer is Answer.CHANGED
        assert moved is (cell.before != cell.after)
        assert cell.because_of == (ENVIRONMENT if moved else None)
        assert (cell.distance.differing > 0) is moved
    runs = [load_run(run.folder) for run in find_runs(lost.results)]
    assert [run.manifest.run_spec.image is None for run in runs] == [True, False]
    candidate, again = runs
    altered = msgspec.structs.replace(golden[0].cells[0], outputs={**golden[0].cells[0].outputs, "model": NOTHING})
    [cell] = compare_golden(msgspec.structs.replace(golden[0], cells=(altered,)), candidate, again)
    assert (cell.answer, cell.because_of) == (Answer.CHANGED, ELSEWHERE)


def test_an_environment_that_is_assembled_in_another_way_now_cannot_be_run_again_and_says_so(project):
    state = find_baseline(project, "v1.2").environments["cpu"]
    image = msgspec.structs.replace(state.sources.image, builder=0)
    digest = digest_of(encode_lock(image))
    sources = msgspec.structs.replace(state.sources, image=image, image_digest=digest, builder=0)
    old = msgspec.structs.replace(state, sources=sources)
    with restored(old, project) as root, pytest.raises(OutdatedLockError, match="the builder's format"):
        run_golden("cpu", "ridge.yaml", False, project, root=root)
