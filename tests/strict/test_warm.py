import os
import subprocess
import sys

import pytest

from harness.strict.warm import import_quietly

WARM = """
import importlib.metadata, sys, sysconfig
sys.path.insert(0, {folder!r})
importlib.metadata.packages_distributions = lambda: {packages!r}
sysconfig.get_path = lambda name: {folder!r} + "/standard"
from harness.strict import warm
warm.packages_distributions = importlib.metadata.packages_distributions
warm.main()
"""


@pytest.fixture
def warm(tmp_path):
    folder = tmp_path / "packages"
    (folder / "standard" / "test").mkdir(parents=True)
    (folder / "standard" / "alone.py").write_text("x = 1\n")
    (folder / "standard" / "test" / "left_out.py").write_text("x = 1\n")

    def run(**modules):
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)
        code = WARM.format(folder=str(folder), packages={name: ["demo"] for name in modules})
        environment = {**os.environ, "HARNESS_OUTPUT": str(tmp_path)}
        ended = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return ended, {path.name.split(".")[0] for path in (tmp_path / "bytecode").rglob("*.pyc")}

    return run


def test_what_is_installed_and_the_standard_library_are_compiled(warm):
    ended, compiled = warm(one="import two_helper\n", two_helper="")
    assert ended.returncode == 0, ended.stderr
    assert {"one", "two_helper", "alone"} <= compiled
    assert "left_out" not in compiled


def test_a_package_that_cannot_be_imported_is_named_and_the_others_are_compiled(warm):
    ended, compiled = warm(broken="raise RuntimeError('no such device')\n", leaves="raise SystemExit(3)\n", works="")
    assert ended.returncode == 0
    assert "broken: RuntimeError: no such device" in ended.stderr
    assert "leaves: SystemExit: 3" in ended.stderr
    assert "works" in compiled


def test_a_module_that_is_not_there_is_no_failure(capsys):
    import_quietly("no_module_of_this_name", "json")
    assert "ModuleNotFoundError" in capsys.readouterr().err
