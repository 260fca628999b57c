"""Which images can train an experiment here: this machine is what they are for, and they hold its libraries."""

from collections.abc import Iterable
from pathlib import Path

from harness.errors import UsageError
from harness.locking.architecture import not_here
from harness.locking.imagespec import load_image_spec
from harness.locking.lock import locked_versions
from harness.runs.machine import gpu_driver
from harness.spec.experiment import BUILT_IN_FAMILIES, LIBRARY_KEY
from harness.spec.resolution import find_experiment, load_experiment

# The distributions of which a library is one.
_DISTRIBUTIONS = {"lightgbm": ("lightgbm",), "torch": ("torch",), "xgboost": ("xgboost", "xgboost-cpu")}


def why_unfit(image: str, root: Path, experiments: Iterable[str]) -> str | None:
    """Why an image of the checkout `root` cannot train some experiments on this machine; null where it can.

    Raises:
        UsageError: there is no such image, or its spec makes no sense.
        IntegrityError: the image's lock is not valid.
    """
    spec = load_image_spec(root, image)
    if reason := not_here(spec.debian.architecture):
        return reason
    if spec.variant == "cuda" and gpu_driver() is None:
        return "it needs an NVIDIA GPU with its driver, and this machine has none"
    locked = locked_versions(root, image)
    for experiment in experiments if locked else ():
        try:
            families = load_experiment(find_experiment(experiment, root)).families
        except UsageError:  # whoever trains it says what is wrong with it
            continue
        for family, settings in families.items():
            library = settings.get(LIBRARY_KEY, BUILT_IN_FAMILIES.get(family))
            wanted = _DISTRIBUTIONS.get(str(library), ())
            if wanted and not set(wanted) & locked.keys():
                return f"it has no {library}, which the family {family} of {experiment} needs"
    return None
