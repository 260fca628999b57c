import os
import signal
import threading

import pytest

from harness.engines.signals import terminable, undisturbed


def test_sigterm_ends_a_run_through_its_finally_and_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    steps: list[str] = []

    def work() -> None:
        with terminable():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                threading.Event().wait(5)
                steps.append("went on")
            finally:
                steps.append("cleaned")

    with pytest.raises(SystemExit) as caught:
        work()
    assert caught.value.code == 143
    assert steps == ["cleaned"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_handler_of_the_callers_own_is_kept() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_must_not_stop_half_way_does_not_and_the_signal_is_not_lost() -> None:
    steps: list[str] = []

    def tidy() -> None:
        with undisturbed():
            steps.append("begun")
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(0.05)
            steps.append("ended")
        steps.append("after")

    with pytest.raises(KeyboardInterrupt):
        tidy()
    assert steps == ["begun", "ended"]


def test_other_threads_leave_handlers_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def work() -> None:
        with terminable(), undisturbed():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
