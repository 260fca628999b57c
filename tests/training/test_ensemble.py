import json
import os
import subprocess
import sys

import numpy as np
import pytest

from harness.errors import IntegrityError
from harness.record.hashing import digest_of_array
from harness.spec.ensemble import CellTask
from harness.training.ensemble import average
from harness.training.metrics import classification_metrics, regression_metrics

RNG = np.random.default_rng(5)
ROWS = np.column_stack([np.repeat([0, 1], 20), np.repeat(np.arange(10), 4), np.tile(np.arange(4), 10)]).astype(np.int32)


def task(folder, members, target="fwd_ret_5d"):
    truth = (RNG.random(40) > 0.5).astype(float) if "up" in target else RNG.standard_normal(40)
    for name, array in {"rows": ROWS, "truth": truth, **members}.items():
        np.save(folder / f"{name}.npy", array)
    names = tuple(f"{name}.npy" for name in members)
    return truth, CellTask(target=target, members=names, rows="rows.npy", truth="truth.npy", result="mean.npy")


@pytest.mark.parametrize("target", ["fwd_ret_5d", "fwd_up_5d"])
def test_metrics_are_those_of_the_averaged_predictions_over_all_rows_and_each_fold(tmp_path, target):
    members = {"a": RNG.random(40), "b": RNG.random(40), "c": RNG.random(40)}
    truth, cell = task(tmp_path, members, target)
    made = average(cell, tmp_path, tmp_path)
    mean = np.load(tmp_path / "mean.npy")
    assert np.allclose(mean, sum(members.values()) / 3, rtol=1e-15)
    assert made.predictions == digest_of_array(mean)

    def metrics(rows):
        if "up" in target:
            return classification_metrics(truth[rows], mean[rows])
        return regression_metrics(truth[rows], mean[rows], ROWS[rows, 1])

    expected = dict(metrics(slice(None)))
    for fold in (0, 1):
        expected |= {f"fold{fold}.{name}": value for name, value in metrics(ROWS[:, 0] == fold).items()}
    assert made.metrics == expected


def test_the_order_of_members_changes_no_bit_and_another_member_does(tmp_path):
    members = {"a": RNG.random(40) * 1e16, "b": RNG.random(40), "c": -RNG.random(40) * 1e16}
    _, cell = task(tmp_path, members)
    turned = CellTask(target=cell.target, members=cell.members[::-1], rows=cell.rows, truth=cell.truth, result="t.npy")
    fewer = CellTask(target=cell.target, members=cell.members[:2], rows=cell.rows, truth=cell.truth, result="f.npy")
    assert average(cell, tmp_path, tmp_path) == average(turned, tmp_path, tmp_path)
    assert average(fewer, tmp_path, tmp_path).predictions != average(cell, tmp_path, tmp_path).predictions


def test_members_of_other_rows_are_refused(tmp_path):
    _, cell = task(tmp_path, {"a": RNG.random(40), "b": RNG.random(39)})
    with pytest.raises(IntegrityError, match="same rows"):
        average(cell, tmp_path, tmp_path)


def test_the_program_says_in_one_sentence_what_is_wrong(tmp_path):
    (tmp_path / "ensemble.json").write_text(json.dumps({"schema": "harness.ensemble-task/1", "cells": 3}))
    folders = {f"HARNESS_{name}": str(tmp_path) for name in ("TASK", "DATA", "OUTPUT")}
    for environment, code, part in ((folders, 4, "is damaged"), ({}, 2, "HARNESS_TASK is not set")):
        done = subprocess.run(
            [sys.executable, "-m", "harness.training.ensemble"], env={**os.environ, **environment}, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        assert (done.returncode, part in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr
