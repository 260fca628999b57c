"""The layout of results: which file lies where, as paths relative to a run's folder."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from harness.errors import UsageError
from harness.record.fingerprints import universe_signature
from harness.spec.digest import hexadecimal
from harness.spec.experiment import View
from harness.spec.names import check_name

MANIFEST = "manifest.json"
SNAPSHOT = "snapshot.json"
METRICS = "metrics.json"
METADATA = "metadata.json"
DIFF_PREV = "diff_prev.json"
HISTORY = "history.jsonl"
ENSEMBLES = "ensembles"
KEPT = "kept"
"""The folder of marks on runs that are kept for an audit."""
PREDICTIONS = "predictions"
SCRIPT_FOLDER = "exec"
"""Where `harness exec` keeps what it records, in the place of `targets/`."""
SCRIPT_OUTPUTS = "outputs"
SCRIPT_STDOUT = "stdout.txt"
TOUCHED = "touched.json"
EXPLANATION = "explanation.json"


def runs_folder(results: Path) -> Path:
    """Where the complete runs of a results folder lie, one folder a run."""
    return results / "runs"


def ensemble_folder(results: Path, name: str) -> Path:
    """Where an ensemble of that name lies: `RESULTS/ensembles/<name>`.

    Raises:
        UsageError: the name is not safe as a part of a path.
    """
    return results / ENSEMBLES / check_name(name, "ensemble name")


def run_folder(results: Path, run_name: str) -> Path:
    """Where a run of that name lies when it is complete.

    Raises:
        UsageError: the name is not safe as a part of a path.
    """
    return runs_folder(results) / check_name(run_name, "run name")


def cohort_folder(target: str, view: View, symbol: str | None, cohort_id: str) -> PurePosixPath:
    """`targets/<target>/reproducibility/<view>[/symbol=<S>]/cohort=<id>`, relative to the run's folder.

    Raises:
        UsageError: a name is not safe as a part of a path, or `symbol` does not go with the view.
    """
    return _view_folder(target, view, symbol) / f"cohort={check_name(cohort_id, 'cohort')}"


def predictions_file(target: str, view: View, symbol: str | None, cohort_id: str, family: str) -> PurePosixPath:
    """Where a cell's predictions lie, relative to the run's folder: an array, in the order of rows.

    Raises:
        UsageError: as for `cohort_folder`.
    """
    return cohort_folder(target, view, symbol, cohort_id) / PREDICTIONS / f"{check_name(family, 'family')}.npy"


def importances_file(
    target: str, view: View, symbol: str | None, universe: Sequence[str], family: str
) -> PurePosixPath:
    """Where a cell's feature importances lie, relative to the run's folder; `universe` are the cohort's symbols.

    Raises:
        UsageError: a name is not safe as a part of a path, or `symbol` does not go with the view.
    """
    folder = _view_folder(target, view, symbol)
    if view is View.CROSS_SECTIONAL:
        folder /= f"universe={hexadecimal(universe_signature(universe))[:12]}"
    return folder / "feature_importances" / f"{check_name(family, 'family')}.csv"


def _view_folder(target: str, view: View, symbol: str | None) -> PurePosixPath:
    if (symbol is None) is not (view is View.CROSS_SECTIONAL):
        raise UsageError(f"The view {view} of target {target} {'has no' if symbol else 'needs a'} symbol")
    folder = PurePosixPath("targets", check_name(target, "target"), "reproducibility", view.value)
    return folder if symbol is None else folder / f"symbol={check_name(symbol, 'symbol')}"
