import json
import threading
from pathlib import Path

from harness.runs.log import RunLog


def test_lines_of_several_threads_stay_whole(tmp_path: Path) -> None:
    with RunLog(tmp_path / "log", {"run_id": "r"}) as log:
        threads = [
            threading.Thread(target=lambda n=n: [log.write("info", "x" * 500, number=n) for _ in range(50)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(lines) == 200
    assert {line["run_id"] for line in lines} == {"r"}


def test_a_line_break_in_a_message_makes_no_second_line(tmp_path: Path) -> None:
    with RunLog(tmp_path / "log", {}) as log:
        log.write("info", 'a\nb"\u2028')
    (line,) = (tmp_path / "log").read_bytes().split(b"\n")[:-1]
    assert json.loads(line)["message"] == 'a\nb"\u2028'
