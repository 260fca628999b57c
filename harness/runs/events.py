"""What a trainer says on its stdout while it works: JSON lines, turned into progress and log lines."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from harness.errors import ExitCode
from harness.runs.log import RunLog
from harness.store.progress import Progress, Task

_LONGEST_LINE = 1 << 20
_KEPT_LINES = 60
_REFUSAL = "harness: "  # as what runs inside begins its one sentence


class Failure(msgspec.Struct, frozen=True):
    """Why a trainer gave up, in its own words."""

    message: str
    hint: str | None
    exit_code: ExitCode


def refusal(errors: Sequence[str], exit_code: int) -> Failure | None:
    """Why an inside program refused to go on, which it says in one sentence on stderr; null if it did not."""
    if exit_code not in (ExitCode.USAGE, ExitCode.INTEGRITY):
        return None
    for number, line in enumerate(errors):
        if line.startswith(_REFUSAL):
            hint = " ".join(text.strip() for text in errors[number + 1 :]) or None
            return Failure(line.removeprefix(_REFUSAL), hint, ExitCode(exit_code))
    return None


class Lines:
    """Cuts a stream of chunks into lines; a line over 1 MiB is handed on in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without their ends."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return lines

    def close(self) -> list[bytes]:
        """What is left when the stream ends without a line end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


class Printed:
    """What an inside program prints on stderr, line by line as text; `lines` has all of it once it is closed."""

    def __init__(self) -> None:
        self._cut = Lines()
        self.lines: list[str] = []

    def feed(self, chunk: bytes) -> None:
        """Take some bytes."""
        self._take(self._cut.feed(chunk))

    def close(self) -> None:
        """Take what is left without a line end."""
        self._take(self._cut.close())

    def _take(self, lines: Sequence[bytes]) -> None:
        texts = (line.decode(errors="replace").rstrip() for line in lines)
        self.lines += [text for text in texts if text]


class TrainerEvents:
    """Follows one trainer. `failure` is set once it has said why it gives up; `errors` keeps the end of its stderr."""

    def __init__(self, progress: Progress, log: RunLog) -> None:
        self._progress = progress
        self._log = log
        self._stages: dict[str, tuple[AbstractContextManager[Task], Task]] = {}
        self._stdout = Lines()
        self._stderr = Lines()
        self.failure: Failure | None = None
        self.errors: list[str] = []

    def on_stdout(self, chunk: bytes) -> None:
        """Take some bytes of the trainer's stdout."""
        for line in self._stdout.feed(chunk):
            self._event(line)

    def on_stderr(self, chunk: bytes) -> None:
        """Take some bytes of the trainer's stderr: what libraries print."""
        for line in self._stderr.feed(chunk):
            self._printed(line)

    def close(self) -> None:
        """Take what is left and end every bar."""
        for line in self._stdout.close():
            self._event(line)
        for line in self._stderr.close():
            self._printed(line)
        while self._stages:
            _, (context, _) = self._stages.popitem()
            context.__exit__(None, None, None)

    def refusal(self, exit_code: int) -> Failure | None:
        """Why the launcher refused to start the trainer at all, which it says on stderr; null if it did not."""
        return refusal(self.errors, exit_code)

    def _printed(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self._log.write("stderr", text)
            self.errors = [*self.errors[1 - _KEPT_LINES :], text]

    def _event(self, line: bytes) -> None:
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
            self._take(event)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            # The trainer keeps its stdout to itself; a line that is no event comes from code that got around that.
            self._log.write("stdout", line.decode(errors="replace"))

    def _take(self, event: dict[str, Any]) -> None:
        match event.pop("event"):
            case "stage":
                self._stage(str(event["stage"]), float(event["total"]))
            case "advance":
                if event["stage"] in self._stages:
                    self._stages[event["stage"]][1].advance(float(event.get("amount", 1)))
            case "log":
                level, message = str(event.pop("level")), str(event.pop("message"))
                self._log.write(level, message, **event)
                if level in {"note", "warning", "error"}:
                    self._progress.note(message)
            case "error":
                self.failure = Failure(str(event["message"]), event.get("hint"), ExitCode(event["exit_code"]))
                self._log.write("error", self.failure.message, hint=self.failure.hint)
            case other:
                raise ValueError(f"unknown event {other!r}")

    def _stage(self, name: str, total: float) -> None:
        context = self._progress.task(name, total=total)
        self._stages[name] = (context, context.__enter__())
        self._log.write("info", f"stage {name}", total=total)
