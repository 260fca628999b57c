"""`load_reproducibility_config`: the seeds' settings from a file, with the environment over them."""

# isort: off
from harness.strict import bootstrap
# isort: on

import os
from importlib import resources
from pathlib import Path

import msgspec

from harness.spec.documents import load_document, parse_document
from harness.spec.experiment import Reproducibility
from harness.spec.reproducibility import resolve
from harness.strict.environment import available_cores, check_environment

DEFAULT = "reproducibility.yaml"


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reproducibility: Reproducibility


def load_reproducibility_config(path: Path | None = None) -> Reproducibility:
    """The settings under `reproducibility` in the YAML file `path` (the package's own by default).

    `REPRO_MODE`, `REPRO_SEED` and `REPRO_VERSION` beat the file. In a strict process `strict.require_env_vars` asks
    for every variable of a strict run to be set.

    Raises:
        UsageError: the file or a variable is wrong; the message names the key or the variable.
        IntegrityError: the process is strict, its variables are required, and one is missing or wrong.
    """
    if path is None:
        text = resources.files("harness").joinpath("configs", DEFAULT).read_text(encoding="utf-8")
        document = parse_document(text, _Document, DEFAULT)
    else:
        document = load_document(path, _Document)
    settings = resolve(document.reproducibility, os.environ)
    if bootstrap.is_strict_mode() and settings.strict.require_env_vars:
        check_environment(os.environ, cores=available_cores())
    return settings
