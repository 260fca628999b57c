"""A container's output and end, followed by threads of their own, so that a slow reader loses nothing."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import msgspec
import requests
import urllib3
from docker.errors import DockerException

from harness.errors import ToolError

_TAIL_SECONDS = 10.0


class Chunk(msgspec.Struct, frozen=True):
    """Some bytes of one of the two streams."""

    data: bytes
    is_error: bool


class _EndOfOutput(msgspec.Struct, frozen=True):
    pass


class _Exit(msgspec.Struct, frozen=True):
    code: int


class _Lost(msgspec.Struct, frozen=True):
    reason: str


class Follower:
    """Follows one container. The daemon drops output that is not taken off its hands soon, hence the threads."""

    def __init__(self, client: docker.DockerClient, container: str) -> None:
        self._client = client
        self._container = container
        self._events: queue.SimpleQueue[Chunk | _EndOfOutput | _Exit | _Lost] = queue.SimpleQueue()
        # Attached before the start, so that the first byte is there.
        self._frames: Any = client.api.attach(container, stdout=True, stderr=True, stream=True, demux=True)
        self._exit_code: int | None = None
        self._start(self._read)

    @property
    def exit_code(self) -> int:
        """The program's, once `follow` has come to its end."""
        if self._exit_code is None:
            raise RuntimeError("the container has not ended")
        return self._exit_code

    def started(self) -> None:
        """The container runs: wait for its end from now on."""
        self._start(self._wait)

    def follow(self, *, tick: Callable[[], None], seconds: float) -> Iterator[Chunk]:
        """Output as it comes until the container has ended; `tick` is called at least every `seconds`, from here.

        Raises:
            ToolError: the daemon went away.
        """
        ended_at: float | None = None
        next_tick = time.monotonic()
        at_end = False
        while self._exit_code is None or not at_end:
            if time.monotonic() >= next_tick:
                tick()
                next_tick = time.monotonic() + seconds
            try:
                event = self._events.get(timeout=seconds)
            except queue.Empty:
                # A process that outlives the container's first can hold the stream open; its words are not the run's.
                if ended_at is not None and time.monotonic() - ended_at > _TAIL_SECONDS:
                    return
                continue
            match event:
                case Chunk():
                    yield event
                case _EndOfOutput():
                    at_end = True
                case _Exit(code):
                    self._exit_code, ended_at = code, time.monotonic()
                case _Lost(reason):
                    raise ToolError(
                        f"The Docker daemon went away during the run: {reason}",
                        hint="Start it again (docker/ensure-engine.sh), run `harness clean`, and run again.",
                    )

    def _start(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        try:
            for out, error in self._frames:
                if out:
                    self._events.put(Chunk(out, False))
                if error:
                    self._events.put(Chunk(error, True))
        except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError):
            pass  # the waiting thread tells whether the container ended or the daemon went away
        self._events.put(_EndOfOutput())

    def _wait(self) -> None:
        try:
            answer = self._client.api.wait(self._container, timeout=None)
            self._events.put(_Exit(int(answer["StatusCode"])))
        except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            self._events.put(_Lost(" ".join(str(error).split())[:200]))
