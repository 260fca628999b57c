"""Answers that trickle, by a clock that each read sets forward."""

import io

import pytest

from harness.store import pace
from harness.store.pace import PacedResponse, TrickleError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"


class Server(io.RawIOBase):
    """What a server sends: (seconds, bytes) by (seconds, bytes). It is its socket, and the clock too."""

    def __init__(self, pieces, timeout):
        self.pieces = iter(pieces)
        self.timeout = timeout
        self.now = 0.0

    def makefile(self, mode):
        return io.BufferedReader(self)

    def gettimeout(self):
        return self.timeout

    def monotonic(self):
        return self.now

    def readable(self):
        return True

    def readinto(self, buffer):
        seconds, data = next(self.pieces, (0.0, b""))
        self.now += seconds
        buffer[: len(data)] = data
        return len(data)


def answer(monkeypatch, pieces, timeout=60.0):
    server = Server(pieces, timeout)
    monkeypatch.setattr(pace, "time", server)
    response = PacedResponse(server, method="GET")
    try:
        response.begin()
        return response.read(), server.now
    except TrickleError as error:
        return str(error), server.now


def bytewise(data, seconds):
    return [(seconds, bytes([byte])) for byte in data]


@pytest.mark.parametrize("timeout", [60.0, 900.0, None])
@pytest.mark.parametrize("before", [[], [(0.0, HEAD)]], ids=["head", "body"])
def test_a_byte_a_minute_is_given_up_after_a_few(monkeypatch, before, timeout):
    assert answer(monkeypatch, [*before, *bytewise(HEAD, 59.0)], timeout) == (
        "it gave 2 bytes in 118.0 s",
        177.0 - 59.0 * len(before),
    )


def test_the_patience_is_that_of_the_connection(monkeypatch):
    assert answer(monkeypatch, bytewise(HEAD, 1.0), 5.0) == ("it gave 5 bytes in 5.0 s", 6.0)


def test_two_bytes_a_second_trickle_and_two_thousand_do_not(monkeypatch):
    pieces = [(0.0, HEAD), *[(1.0, bytes(2))] * 2500]
    assert answer(monkeypatch, pieces)[0] == "it gave 120 bytes in 60.0 s"
    pieces = [(0.0, HEAD), *[(0.001, bytes(2))] * 2500]
    assert answer(monkeypatch, pieces, 0.5)[0] == bytes(5000)


def test_a_server_may_think_long_before_it_answers(monkeypatch):
    assert answer(monkeypatch, [(800.0, HEAD), (0.0, bytes(5000))], 900.0) == (bytes(5000), 800.0)


def test_a_pause_is_no_trickle(monkeypatch):
    assert answer(monkeypatch, [(0.0, HEAD), (59.0, bytes(2000)), (0.0, bytes(3000))])[0] == bytes(5000)
