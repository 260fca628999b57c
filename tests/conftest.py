"""What every test stands on."""

import signal

import pytest

from tests.tools import need

# A shell starts its background jobs deaf to Ctrl-C, and programs hand that down: the tests of Ctrl-C need ears.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# With `-n 2`, files that stand in one line go to one process, each test of any other file to whichever is free: they
# share what takes long to make, or look at one thing that each of them changes.
_TOGETHER = (
    ("integration/experiment/test_bad_data.py", "integration/experiment/test_difference.py",
     "integration/experiment/test_integrity.py", "integration/experiment/test_records.py",
     "integration/experiment/test_repeat.py"),
    ("integration/experiment/test_baseline.py", "integration/test_survey.py"),  # the kept survey of one image
    ("integration/experiment/test_drift.py",),
    ("integration/experiment/test_ml_train.py",),
    ("integration/test_docker_engine.py",),
    ("integration/test_leaks.py",),
    ("integration/test_self_contained.py",),  # one image's name in the engine
    ("locking/test_lock.py",),
    ("strict/test_estimators.py",),
    ("strict/test_gpu_tasks.py",),
    ("strict/test_lightning.py",),
    ("strict/test_loading.py",),
    ("strict/test_portability.py",),
    ("strict/test_probe.py",),
    ("strict/test_segments.py", "strict/test_stopping.py", "strict/test_threads.py"),  # LightGBM, XGBoost and torch
    ("test_noxfile.py",),
    ("training/test_trainer.py",),
)  # fmt: skip


def pytest_runtest_setup(item):
    for mark in item.iter_markers("needs"):
        need(*mark.args)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    line_of = {f"tests/{name}": line[0] for line in _TOGETHER for name in line}
    missing = [name for name in line_of if not (config.rootpath / name).is_file()]
    assert not missing, missing

    class Scheduling(LoadScopeScheduling):
        """xdist's own way to group (`--dist loadgroup`) does nothing under pytest 9.2."""

        def _split_scope(self, nodeid: str) -> str:
            return line_of.get(nodeid.partition("::")[0], nodeid)

    return Scheduling(config, log)
