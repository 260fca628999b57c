import http.client
import json
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from image_packages import Checkout

from harness.errors import HarnessError, IntegrityError
from harness.images import assembly
from harness.images.build import Image, build, open_image
from harness.images.registry import serve
from harness.images.tree import Entry
from harness.locking.imagelock import LayerLock
from harness.record.hashing import digest_of

Slow = tuple[LayerLock, queue.Queue[Exception | None]]


@pytest.fixture
def image(checkout: Checkout) -> Iterator[Image]:
    build("tiny", root=checkout.root, store=checkout.store, update=True)
    with open_image("tiny", root=checkout.root, store=checkout.store) as opened:
        yield opened


@pytest.fixture
def address(image: Image) -> Iterator[str]:
    with serve(image) as reference:
        host, _, rest = reference.partition("/")
        assert rest == f"tiny@{image.lock.manifest}"
        yield host


def ask(address: str, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response, data


def test_an_engine_finds_every_blob_behind_its_digest(image: Image, address: str) -> None:
    assert ask(address, "/v2/")[0].status == 200
    response, data = ask(address, f"/v2/tiny/manifests/{image.lock.manifest}")
    assert response.headers["Content-Type"] == "application/vnd.oci.image.manifest.v1+json"
    assert response.headers["Docker-Content-Digest"] == image.lock.manifest == digest_of(data)
    manifest = json.loads(data)
    for blob in [manifest["config"], *manifest["layers"]]:
        response, data = ask(address, f"/v2/tiny/blobs/{blob['digest']}")
        assert (response.status, digest_of(data), len(data)) == (200, blob["digest"], blob["size"])
        response, data = ask(address, f"/v2/tiny/blobs/{blob['digest']}", "HEAD")
        assert (response.status, int(response.headers["Content-Length"]), data) == (200, blob["size"], b"")


def test_a_part_of_a_blob_can_be_had(image: Image, address: str) -> None:
    layer = image.lock.layers[0]
    whole = image.blob(layer.digest).read_bytes()
    for wanted, part in (("bytes=100-", whole[100:]), ("bytes=0-9", whole[:10]), ("bytes=5-99999999999", whole[5:])):
        response, data = ask(address, f"/v2/tiny/blobs/{layer.digest}", Range=wanted)
        assert (response.status, data) == (206, part)
        start = len(whole) - len(part) if wanted != "bytes=0-9" else 0
        assert response.headers["Content-Range"] == f"bytes {start}-{start + len(part) - 1}/{len(whole)}"
    assert ask(address, f"/v2/tiny/blobs/{layer.digest}", Range=f"bytes={layer.size}-")[0].status == 416


def test_nothing_else_can_be_had(image: Image, address: str, checkout: Checkout) -> None:
    other = checkout.store.put_bytes(b"somebody else's")
    for path in (
        f"/v2/tiny/blobs/{other}",
        f"/v2/tiny/manifests/{other}",
        f"/v2/tiny/manifests/{image.lock.config}",
        f"/v2/other/manifests/{image.lock.manifest}",
        "/v2/tiny/manifests/latest",
        "/v2/tiny/blobs/../../../../etc/passwd",
        "/v2/tiny/blobs/sha256:..%2f..%2fetc",
        "/../../etc/passwd",
        "/",
    ):
        assert ask(address, path)[0].status == 404
    for method in ("PUT", "POST", "DELETE"):
        assert ask(address, f"/v2/tiny/manifests/{image.lock.manifest}", method)[0].status == 501


def test_only_loopback_is_listened_on(address: str) -> None:
    assert address.startswith("127.0.0.1:")


@pytest.mark.parametrize(
    "hello",
    [
        b"\x16\x03\x01\x00\x40" + bytes(64),  # a TLS hello without a line end: readline would wait for ever
        b"\x16\x03\x01\x00\x40" + b"\n" * 64,
        b"\x80\x2e\x01garbage\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_an_answer_that_looks_like_http(hello: bytes, address: str, image: Image) -> None:
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(hello)
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    assert answer.startswith(b"HTTP/1.")
    assert b" 400 " in answer.splitlines()[0]
    assert ask(address, "/v2/")[0].status == 200


def test_one_connection_serves_request_after_request(image: Image, address: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=10)
    for layer in image.lock.layers:
        connection.request("GET", f"/v2/tiny/blobs/{layer.digest}")
        assert digest_of(connection.getresponse().read()) == layer.digest
    connection.close()


def test_blobs_are_served_while_others_are_still_being_made(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = build("tiny", root=checkout.root, store=checkout.store, update=True)
    first, last = lock.layers[0], lock.layers[-1]
    for layer in (first, last):
        checkout.store.path(layer.digest).unlink()
    go_on = threading.Event()
    chunks = assembly.layer_chunks

    def slow(entries: list[tuple[str, object]]) -> Iterator[bytes]:
        if any(path == "etc/passwd" for path, _ in entries):
            assert go_on.wait(10)
        yield from chunks(entries)  # type: ignore[arg-type]

    monkeypatch.setattr(assembly, "layer_chunks", slow)
    with open_image("tiny", root=checkout.root, store=checkout.store) as image, serve(image) as reference:
        address = reference.partition("/")[0]
        assert digest_of(ask(address, f"/v2/tiny/blobs/{first.digest}")[1]) == first.digest
        assert not checkout.store.has(last.digest)
        go_on.set()
        assert digest_of(ask(address, f"/v2/tiny/blobs/{last.digest}")[1]) == last.digest


@pytest.fixture
def slow(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Slow:
    """A layer that the store lacks, of which half is made; the rest once the queue says so, or its exception."""
    layer = build("tiny", root=checkout.root, store=checkout.store, update=True).layers[0]
    checkout.store.path(layer.digest).unlink()
    go_on: queue.Queue[Exception | None] = queue.Queue()
    chunks = assembly.layer_chunks

    def halves(entries: list[tuple[str, Entry]]) -> Iterator[bytes]:
        data = b"".join(chunks(entries))
        yield data[: layer.size // 2]
        if (error := go_on.get(timeout=10)) is not None:
            raise error
        yield data[layer.size // 2 :]

    monkeypatch.setattr(assembly, "layer_chunks", halves)
    return layer, go_on


def test_a_layer_is_sent_while_it_is_made(checkout: Checkout, slow: Slow) -> None:
    layer, go_on = slow
    with open_image("tiny", root=checkout.root, store=checkout.store) as image, serve(image) as reference:
        connection = http.client.HTTPConnection(reference.partition("/")[0], timeout=10)
        connection.request("GET", f"/v2/tiny/blobs/{layer.digest}")
        response = connection.getresponse()
        first = response.read(layer.size // 2)
        assert not checkout.store.has(layer.digest)
        go_on.put(None)
        assert digest_of(first + response.read()) == layer.digest
        later = ask(reference.partition("/")[0], f"/v2/tiny/blobs/{layer.digest}", Range="bytes=7-")[1]
        assert len(later) == layer.size - 7
        connection.close()
    assert checkout.store.verified_path(layer.digest)


def test_a_layer_that_fails_while_it_is_sent_ends_too_early_and_says_why(checkout: Checkout, slow: Slow) -> None:
    layer, go_on = slow
    with open_image("tiny", root=checkout.root, store=checkout.store) as image, serve(image) as reference:
        address = reference.partition("/")[0]
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.request("GET", f"/v2/tiny/blobs/{layer.digest}")
        response = connection.getresponse()
        assert len(response.read(layer.size // 2)) == layer.size // 2
        go_on.put(HarnessError("the disk is full"))
        with pytest.raises(http.client.IncompleteRead):
            response.read()
        connection.close()
        assert str(image.failure()) == "the disk is full"
        later, data = ask(address, f"/v2/tiny/blobs/{layer.digest}", Range=f"bytes={layer.size // 2}-")
        assert (later.status, data) == (500, b"the disk is full")
    assert not checkout.store.has(layer.digest)


@pytest.mark.parametrize("more", [b"", b"more"])
def test_a_layer_that_comes_out_otherwise_never_arrives_whole(
    more: bytes, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = build("tiny", root=checkout.root, store=checkout.store, update=True).layers[0]
    checkout.store.path(layer.digest).unlink()
    monkeypatch.setattr(assembly, "layer_chunks", lambda _: iter((bytes(layer.size), more)))
    with open_image("tiny", root=checkout.root, store=checkout.store) as image, serve(image) as reference:
        with suppress(
            http.client.IncompleteRead
        ):  # or an answer that says so, where that was known before the first byte
            assert ask(reference.partition("/")[0], f"/v2/tiny/blobs/{layer.digest}")[0].status == 500
        failure = image.failure()
        assert isinstance(failure, IntegrityError)
        assert "--anew" in (failure.hint or "")


def test_a_layer_that_cannot_be_made_is_an_error_with_its_reason(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = build("tiny", root=checkout.root, store=checkout.store, update=True)
    checkout.store.path(lock.layers[0].digest).unlink()

    def fail(*_: object) -> None:
        raise HarnessError("the disk is full")

    monkeypatch.setattr("harness.images.build._plan", fail)
    with open_image("tiny", root=checkout.root, store=checkout.store) as image, serve(image) as reference:
        response, data = ask(reference.partition("/")[0], f"/v2/tiny/blobs/{lock.layers[0].digest}")
        assert (response.status, data) == (500, b"the disk is full")
        assert str(image.failure()) == "the disk is full"


def test_nobody_listens_any_more_at_the_end(image: Image) -> None:
    with serve(image) as reference:
        address = reference.partition("/")[0]
    with pytest.raises(OSError, match="refused"):
        ask(address, "/v2/")
