"""A small experiment on made-up prices, and the real command to run it with."""

import datetime
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.engines.docker import DockerEngine

COMMAND = Path(sys.executable).with_name("harness")
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
EXPERIMENT = """
name: tiny
data: {path: panel.csv}
features: [ret_1d, vol_5d, rank_ret_5d]
targets: [fwd_ret_5d, fwd_up_5d]
views: [CROSS_SECTIONAL, SYMBOL_SPECIFIC]
symbol_specific: [BBB]
families:
  ridge: {alpha: 1.0}
  lightgbm: {n_estimators: 10, num_leaves: 7, min_child_samples: 5, subsample: 0.8, subsample_freq: 1}
  xgboost: {n_estimators: 10, max_depth: 3, subsample: 0.8}
  torch_mlp: {hidden: [8], epochs: 1, batch_size: 64}
folds: {count: 2, min_train: 150}
threading: {parallel: {enabled: true}}
quick:
  folds: {count: 1}
"""
PLUGINS = '''
import json
import os

import numpy as np


class Model:
    """Learns the mean, and spoils its predictions in its own way."""

    def __init__(self, spoil):
        self._spoil = spoil

    def fit(self, features, target, sample_weight=None):
        self._mean = float(np.mean(target))
        self._columns = features.shape[1]
        return self

    def predict(self, features):
        return self._spoil(self._mean + np.arange(len(features)) * 1e-6)

    def feature_importances(self):
        return np.zeros(self._columns)

    def canonical(self):
        return json.dumps(self._mean.hex()).encode()

    def save(self, folder, name="model"):
        path = folder / f"{name}.json"
        path.write_bytes(self.canonical())
        return path


def steady(config, seed, kind):
    return Model(lambda values: values)


def noisy(config, seed, kind):
    return Model(lambda values: values + int.from_bytes(os.urandom(4), "little") * 1e-12)


def shy(config, seed, kind):
    def spoil(values):
        values[0] = int.from_bytes(os.urandom(7), "little") * 1e-300  # too small for any sum to see
        return values

    return Model(spoil)
'''
PLUGGED = """
name: plugged
data: {path: panel.csv}
features: [ret_1d, vol_5d]
targets: [fwd_ret_5d]
families:
  ridge: {alpha: 1.0}
  noisy: {plugin: "spoiled:noisy", libraries: [numpy]}
  shy: {plugin: "spoiled:shy", libraries: [numpy]}
  steady: {plugin: "spoiled:steady", libraries: [numpy]}
folds: {count: 1, min_train: 150}
"""


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it said."""

    code: int
    stdout: str
    stderr: str

    @property
    def sentence(self) -> str:
        """The one sentence of an error, and the only one."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("harness: ")]
        assert len(lines) == 1, self
        assert "Traceback" not in self.stderr, self
        assert self.stdout == "", self
        return lines[0].removeprefix("harness: ")

    @property
    def fingerprints(self) -> list[str]:
        """What `2>&1 | tee LOG`, then `grep fingerprint LOG` shows."""
        return [line for line in (self.stdout + self.stderr).splitlines() if "fingerprint" in line]


class Workshop:
    """A folder with a panel and an experiment, in which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "RESULTS"
        write_panel(folder / "panel.csv")
        (folder / "tiny.yaml").write_text(EXPERIMENT)
        (folder / "plugged.yaml").write_text(PLUGGED)
        (folder / "plugins").mkdir()
        (folder / "plugins/spoiled.py").write_text(PLUGINS)

    def environment(self, **variables: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("REPRO_")}
        return inherited | variables

    def harness(
        self, *arguments: str | Path, timeout: float = 120, cwd: Path | None = None, **variables: str
    ) -> Finished:
        """Run the command to its end."""
        completed = subprocess.run(
            [COMMAND, *arguments], cwd=cwd or self.folder, env=self.environment(**variables), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        return Finished(completed.returncode, completed.stdout, completed.stderr)

    def run(
        self, *arguments: str | Path, experiment: str = "tiny.yaml", timeout: float = 120, **variables: str
    ) -> Finished:
        """`harness run` of an experiment of this folder."""
        return self.harness("run", "--experiment-config", experiment, *arguments, timeout=timeout, **variables)

    def start(self, *arguments: str | Path, experiment: str = "tiny.yaml") -> subprocess.Popen[str]:
        """`harness run`, started and left alone."""
        return subprocess.Popen(
            [COMMAND, "run", "--experiment-config", experiment, *arguments], cwd=self.folder, env=self.environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def compare(self, before: str | Path, after: str | Path) -> tuple[int, list[dict[str, Any]]]:
        """`harness compare --json`: its exit code, and the cells."""
        finished = self.harness("compare", before, after, "--json")
        assert finished.stderr == ""
        return finished.code, msgspec.json.decode(finished.stdout)["cells"]

    def run_folder(self, name: str) -> Path:
        return self.results / "runs" / name

    def left(self) -> list[str]:
        """What lies where runs are kept, complete or not."""
        runs = self.results / "runs"
        return sorted(path.name for path in runs.iterdir()) if runs.is_dir() else []


def write_panel(path: Path, *, changed: bool = False, days: int = 320, symbols: tuple[str, ...] = SYMBOLS) -> None:
    """Prices of a few symbols by day; `changed` moves one of them a little."""
    rng = random.Random(1)
    prices = dict.fromkeys(symbols, 100.0)
    lines = [",".join(("Date", *symbols))]
    for number in range(days):
        prices = {name: price * math.exp(rng.gauss(0, 0.02)) for name, price in prices.items()}
        row = [
            price * 1.0001 if changed and (number, name) == (130, "CCC") else price for name, price in prices.items()
        ]
        lines.append(",".join((str(datetime.date(2020, 1, 1) + datetime.timedelta(number)), *map(repr, row))))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def panel_writer() -> Callable[..., None]:
    return write_panel


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, docker_engine: DockerEngine) -> Workshop:
    """The workshop that most tests share; its runs are only added to. The engine must be there."""
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def own_shop(tmp_path: Path, docker_engine: DockerEngine) -> Workshop:
    """A workshop of the test's own."""
    return Workshop(tmp_path)


@pytest.fixture(scope="session")
def pair(shop: Workshop) -> tuple[Finished, Finished]:
    """Two runs, one right after the other. The image is made now, where the engine does not hold it yet."""
    first = shop.run("--run-name", "first", "--workers", "1", timeout=900)
    second = shop.run("--run-name", "second", "--workers", "2", OMP_NUM_THREADS="8", PYTHONHASHSEED="7")
    return first, second


@pytest.fixture(scope="session")
def first(pair: tuple[Finished, Finished]) -> Finished:
    """The first run, with one fit at a time."""
    return pair[0]


@pytest.fixture(scope="session")
def second(pair: tuple[Finished, Finished]) -> Finished:
    """The same again with two fits at a time, while the caller's variables say something else."""
    return pair[1]
