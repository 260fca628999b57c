import sys

import pytest

from harness.strict.imports import when_imported


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "harness_test_late.py").write_text("value = 1\n")
    yield "harness_test_late"
    sys.modules.pop("harness_test_late", None)


def test_callbacks_run_once_in_order_after_the_module_has_run(module):
    seen = []
    when_imported(module, lambda loaded: seen.append(("first", loaded.value)))
    when_imported(module, lambda loaded: seen.append(("second", loaded.value)))
    assert seen == []
    __import__(module)
    __import__(module)
    assert seen == [("first", 1), ("second", 1)]


def test_a_module_that_is_there_already_is_called_back_at_once(module):
    __import__(module)
    seen = []
    when_imported(module, seen.append)
    assert seen == [sys.modules[module]]


def test_what_a_callback_raises_stops_the_import(module):
    def refuse(loaded):
        raise ValueError("no")

    when_imported(module, refuse)
    with pytest.raises(ValueError, match="no"):
        __import__(module)
    assert module not in sys.modules


def test_a_module_that_does_not_exist_is_still_not_found():
    when_imported("harness_test_absent", lambda module: None)
    with pytest.raises(ModuleNotFoundError):
        __import__("harness_test_absent")
