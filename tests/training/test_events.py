import io
import json
import subprocess
import sys

from harness.errors import IntegrityError
from harness.training.events import Events


def said(speak) -> list[dict]:
    stream = io.BytesIO()
    speak(Events(stream))
    assert stream.getvalue().endswith(b"\n")
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_event_is_one_line():
    assert said(lambda events: events.stage("fits", 3)) == [{"event": "stage", "stage": "fits", "total": 3}]
    assert said(lambda events: events.advance("fits")) == [{"event": "advance", "stage": "fits", "amount": 1}]
    (line,) = said(lambda events: events.log("note", "two\nlines", family="ridge"))
    assert line == {"event": "log", "level": "note", "message": "two\nlines", "family": "ridge"}


def test_a_field_can_not_pass_for_the_event_itself():
    (line,) = said(lambda events: events.log("note", "said", event="error"))
    assert line["event"] == "log"


def test_a_failure_carries_its_exit_code_and_hint():
    (line,) = said(lambda events: events.failure(IntegrityError("broken", hint="Run again.")))
    assert line == {"event": "error", "message": "broken", "hint": "Run again.", "exit_code": 4}


def test_what_anything_else_prints_goes_to_stderr_even_from_a_child():
    source = (
        "import os, subprocess, sys\n"
        "from harness.training.events import Events, keep_stdout\n"
        "print('before')\n"
        "events = Events(keep_stdout())\n"
        "print('printed', flush=True); os.write(1, b'raw\\n'); subprocess.run(['echo', 'child'])\n"
        "events.stage('fits', 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["before", '{"event":"stage","stage":"fits","total":1}']
    assert done.stderr.splitlines() == ["printed", "raw", "child"]
