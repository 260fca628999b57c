"""`ml-train` as a user types it: an ensemble over seeds of real fits, on the host engine."""

import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.docker

CONFIG = """
experiment: tiny.yaml
deterministic: true
engine: host
quick: true
families: [lightgbm]
symbols: [AAA, BBB, CCC]
output_dir: ML
"""


DRAW = """
import os, random
import pyarrow
from harness.strict.exact import exact_sum
from harness.strict.filelists import sorted_files
from harness.strict.shuffles import stable_shuffle
from harness.strict.splits import stable_split
from harness.strict.trials import trial_seed
from harness.training.signatures import table_signature
stable = table_signature(pyarrow.table({"a": [exact_sum([0.1] * 10), trial_seed(42, 7)]}))
assert stable_split("key") in ("train", "valid", "test") and len(stable_shuffle(3, 42)) == 3
assert [path.name for path in sorted_files(".", "draw.py")] == ["draw.py"]
print(random.random(), os.environ["REPRO_MODE"], stable)
"""


@pytest.fixture(scope="module")
def ml_train(shop):
    """`ml_train(*arguments, **variables)`: the command in the workshop's folder, run to its end."""
    (shop.folder / "ml.yaml").write_text(CONFIG)

    def call(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("ml-train"), *arguments], cwd=shop.folder,
            env=shop.environment(**variables), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip

    return call


@pytest.fixture(scope="module")
def ensemble(ml_train):
    """An ensemble of two."""
    done = ml_train("ml.yaml", "--seed", "42", "--seed", "123", "--name", "two", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def again(ml_train, ensemble):
    """The same again, the seeds in another order, one member being the kept one."""
    done = ml_train("ml.yaml", "--seed", "123", "--with", ensemble["runs"]["42"], "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_members_are_runs_like_any_other_with_fingerprints_of_their_own(shop, ensemble):
    assert ensemble["runs"] == {"42": "two-seed42", "123": "two-seed123"}
    for seed, name in ensemble["runs"].items():
        manifest = json.loads((shop.folder / "ML" / "runs" / name / "manifest.json").read_text())
        cells = {(cell["target"], cell["symbol"], cell["family"]): cell for cell in manifest["cells"]}
        assert len(cells) == 4
        for cell in ensemble["cells"]:
            member = cells[cell["target"], cell["symbol"], cell["family"]]
            assert cell["members"][seed] == member["fingerprint"]
            assert cell["metric"][seed] == member["metrics"][cell["metric_name"]]


def test_mean_and_deviation_are_those_of_the_members(ensemble):
    for cell in ensemble["cells"]:
        one, other = cell["metric"].values()
        assert cell["mean"] == pytest.approx((one + other) / 2)
        assert cell["deviation"] == pytest.approx(abs(one - other) / 2**0.5)
        assert one != other
        assert cell["metrics"][cell["metric_name"]] == cell["ensemble"]


def test_the_ensembles_predictions_are_the_members_exact_means(shop, ensemble):
    folder = shop.folder / "ML" / "ensembles" / "two"
    assert json.loads((folder / "ensemble.json").read_text()) == ensemble
    for cell in ensemble["cells"]:
        view = "CROSS_SECTIONAL" if cell["symbol"] is None else f"SYMBOL_SPECIFIC/symbol={cell['symbol']}"
        pattern = f"targets/{cell['target']}/reproducibility/{view}/cohort=*/predictions/lightgbm.npy"
        members = [np.load(*(shop.folder / "ML" / "runs" / run).glob(pattern)) for run in ensemble["runs"].values()]
        expected = [float(sum(map(Fraction, row)) / 2) for row in zip(*(m.tolist() for m in members), strict=True)]
        assert np.load(folder / cell["predictions"]).tolist() == expected


def test_an_ensemble_again_in_another_order_has_the_same_fingerprint_and_its_metrics(ensemble, again):
    assert again["fingerprint"] == ensemble["fingerprint"]
    assert again["cells"] == ensemble["cells"]
    assert again["runs"]["123"] != ensemble["runs"]["123"]


def test_an_ensemble_of_other_seeds_has_another_fingerprint(ml_train, ensemble):
    done = ml_train("ml.yaml", "--with", ensemble["runs"]["42"], "--seed", "5")
    assert done.returncode == 0, done.stderr
    assert "Seed 5" in done.stdout
    assert "fingerprint ensemble sha256:" in done.stdout
    assert ensemble["fingerprint"] not in done.stdout


def test_a_member_that_fails_names_its_seed_and_what_is_kept(shop, ml_train, ensemble):
    before = sorted((shop.folder / "ML" / "ensembles").iterdir())
    done = ml_train("ml.yaml", "--with", ensemble["runs"]["42"], "--seed", "8", "--time-limit", "0.1")
    assert done.returncode == 2
    assert "The member with seed 8 failed" in done.stderr
    assert "--with two-seed42" in done.stderr
    assert sorted((shop.folder / "ML" / "ensembles").iterdir()) == before


def test_members_that_differ_in_more_than_their_seed_are_no_ensemble(shop, ml_train, ensemble):
    (shop.folder / "other.yaml").write_text(
        (shop.folder / "tiny.yaml").read_text().replace("num_leaves: 7", "num_leaves: 5")
    )
    done = ml_train("ml.yaml", "--experiment", "other.yaml", "--with", ensemble["runs"]["42"], "--seed", "9")
    assert done.returncode == 3
    assert "differ in more than their seed: hyperparameters_signature" in done.stderr


def test_a_seed_or_a_name_that_is_there_already_is_refused_before_anything_runs(ml_train, ensemble):
    for arguments, part in (
        (("--seed", "42", "--with", "two-seed42"), "is the member of seed 42 already"),
        (("--seed", "1", "--seed", "2", "--name", "two"), "There is an ensemble two already"),
        (("--seed", "1", "--seed", "1"), "The seed 1 is given twice"),
    ):
        done = ml_train("ml.yaml", *arguments)
        assert done.returncode == 2
        assert part in done.stderr
        assert "Member" not in done.stderr


def test_a_kept_run_with_an_altered_prediction_is_no_member(shop, ml_train, ensemble):
    runs = shop.folder / "ML" / "runs"
    shutil.copytree(runs / "two-seed42", runs / "altered")
    path = next((runs / "altered").glob("targets/*/reproducibility/*/cohort=*/predictions/lightgbm.npy"))
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    done = ml_train("ml.yaml", "--seed", "77", "--with", "altered")
    shutil.rmtree(runs / "altered")
    assert done.returncode == 4
    assert "lightgbm.npy" in done.stderr
    assert "Member" not in done.stderr


def test_a_program_runs_with_its_seed_in_both_modes(shop, ml_train):
    (shop.folder / "draw.py").write_text(DRAW)
    (shop.folder / "program.yaml").write_text("program: [python, draw.py]\nengine: host\noutput_dir: ML\nseed: 3\n")
    free, strict, other = (ml_train("program.yaml", *extra) for extra in ((), ("--deterministic",), ("--seed", "4")))
    assert [done.returncode for done in (free, strict, other)] == [0, 0, 0], free.stderr
    assert free.stdout.split()[1] == "best_effort"
    assert strict.stdout.split() == [free.stdout.split()[0], "strict", free.stdout.split()[2]]
    assert other.stdout.split()[0] != free.stdout.split()[0]
    assert "goes with one seed" in ml_train("program.yaml", "--seed", "1", "--seed", "2").stderr
