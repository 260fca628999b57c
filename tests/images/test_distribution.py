"""A registry that lies, stalls, breaks off or refuses: one clear error each, and nothing half-written."""

import gzip
import json
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from image_packages import Checkout
from registries import KNOWN, PASSWORD, Hostile, HostileServer, certificate, hostile, repository

from harness.errors import HarnessError, IntegrityError, PrerequisiteError, ToolError, UsageError
from harness.images.build import Image, build, open_image
from harness.images.credentials import Credentials
from harness.images.distribution.connection import Request
from harness.images.transport import pull_image, push_image
from harness.record.hashing import digest_of
from harness.spec.digest import Digest
from harness.store.store import Store

__all__ = ["certificate"]
OCI = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def image(checkout: Checkout) -> Iterator[Image]:
    build("tiny", root=checkout.root, store=checkout.store, update=True)
    with open_image("tiny", root=checkout.root, store=checkout.store) as opened:
        yield opened


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other")


def holding(image: Image, server: HostileServer) -> str:
    """Put `image` into a registry; where to pull it from."""
    for digest in (image.lock.manifest, image.lock.config, *(layer.digest for layer in image.lock.layers)):
        server.blobs[digest] = image.blob(digest).read_bytes()
    return f"{server.host}/team/tiny@{image.lock.manifest}"


def is_empty(store: Store) -> bool:
    """Whether nothing was left in a store, whole or half."""
    return not any(path.is_file() for part in ("objects", "temporary") for path in (store.home / part).rglob("*"))


def without_layers(store: Store, image: Image) -> bool:
    """Whether neither the image nor anything half-written was left."""
    return not list(store.temporary.iterdir()) and not store.has(image.lock.manifest)


def on(kind: str, answer: Callable[[Hostile], None]) -> Callable[[Hostile, str, str], bool]:
    """Misbehave when a path that holds `kind` is asked for, and there alone."""

    def answering(handler: Hostile, method: str, path: str) -> bool:
        if kind in path and method == "GET":
            answer(handler)
            return True
        return False

    return answering


def served(handler: Hostile) -> bytes:
    return handler.server.blobs[handler.path.rpartition("/")[2]]


def test_an_honest_registry_gives_the_image(image: Image, other: Store) -> None:
    with hostile() as server:
        assert pull_image(repository(holding(image, server)), store=other).lock.layers == image.lock.layers


LIES: dict[str, tuple[str, Callable[[Hostile], None], str]] = {
    "other bytes as a manifest": (
        "/manifests/",
        lambda it: it.say(200, {"Content-Type": OCI}, served(it).replace(b"2", b"3")),
        "served other bytes as the manifest",
    ),
    "another name for a manifest": (
        "/manifests/",
        lambda it: it.say(200, {"Content-Type": OCI, "Docker-Content-Digest": f"sha256:{'1' * 64}"}, served(it)),
        "calls .* by another digest",
    ),
    "another name for a layer": (
        "/blobs/",
        lambda it: it.say(200, {"Docker-Content-Digest": f"sha256:{'1' * 64}"}, served(it)),
        "calls .* by another digest",
    ),
    "other bytes": ("/blobs/", lambda it: it.say(200, {}, bytes(len(served(it)))), "served other bytes as sha256"),
    "more bytes than the manifest says": (
        "/blobs/",
        lambda it: it.say(200, {}, served(it) + b"more"),
        r"says that .* bytes, and its manifest",
    ),
    "fewer bytes than the manifest says": (
        "/blobs/",
        lambda it: it.say(200, {}, served(it)[:-1]),
        r"says that .* bytes, and its manifest",
    ),
    "another part than was asked for": (
        "/blobs/",
        lambda it: it.say(206, {"Content-Range": "bytes 7-9/10"}, served(it)),
        "served another part",
    ),
    "a manifest without an end": (
        "/manifests/",
        lambda it: it.say(200, {"Content-Type": OCI}, b" " * (5 << 20)),
        "more than 4194304 bytes",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_noticed_and_nothing_is_kept(lie: str, image: Image, other: Store) -> None:
    where, answer, said = LIES[lie]
    with hostile(on(where, answer)) as server, pytest.raises(IntegrityError, match=said) as refused:
        pull_image(repository(holding(image, server)), store=other)
    assert "push the image again" in str(refused.value.hint)
    assert is_empty(other)


def test_a_body_without_a_length_ends_where_the_manifest_says(image: Image, other: Store) -> None:
    def endless(handler: Hostile) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        for _ in range(1000):
            handler.wfile.write(bytes(1 << 16))

    with (
        hostile(on("/blobs/", endless)) as server,
        pytest.raises(IntegrityError, match=r"more bytes as sha256:.* than its manifest says"),
    ):
        pull_image(repository(holding(image, server)), store=other)
    assert is_empty(other)


PLACES = {
    "blob": ("GET", "/blobs/"),
    "manifest": ("GET", "/manifests/"),
    "token": ("GET", "/token"),
    "POST": ("POST", "/uploads/"),
    "PATCH": ("PATCH", "/upload/"),
    "PUT": ("PUT", "/upload/"),
    "manifest's PUT": ("PUT", "/manifests/"),
}


def going_wrong_at(
    place: str, image: Image, checkout: Checkout, other: Store, answer: Callable[[Hostile], object]
) -> str:
    """What is said of a registry that gives `answer` in one place, in a push or a pull, as it belongs there."""
    wrong_method, where = PLACES[place]

    def answering(handler: Hostile, method: str, path: str) -> bool:
        if method == wrong_method and where in path:
            answer(handler)
            return True
        if place == "token" and path != "/v2/":
            handler.say(401, {"WWW-Authenticate": f'Bearer realm="http://{handler.server.host}/token"'})
            return True
        return False

    with hostile(answering) as server:
        pulling = wrong_method == "GET"
        name = holding(image, server) if pulling else server.host
        target = repository(name, push=not pulling, stall=0.2, commit=0.2)
        with pytest.raises(ToolError) as given_up:
            pull_image(target, store=other) if pulling else push_image(image, target, store=checkout.store)
    assert is_empty(other)
    return given_up.value.message


@pytest.mark.parametrize("place", PLACES)
def test_a_registry_that_stalls_is_given_up(place: str, image: Image, checkout: Checkout, other: Store) -> None:
    ended = threading.Event()
    said = going_wrong_at(place, image, checkout, other, lambda _: ended.wait(30))
    ended.set()
    assert re.search(r"said nothing for 0\.2 s; tried 5 times", said)


def test_a_registry_that_stalls_in_a_layer_is_given_up(image: Image, checkout: Checkout, other: Store) -> None:
    ended = threading.Event()

    def stall(handler: Hostile) -> None:
        handler.say(200, {}, served(handler)[:10], length=len(served(handler)))
        ended.wait(30)

    said = going_wrong_at("blob", image, checkout, other, stall)
    ended.set()
    assert re.search(r"said nothing for 0\.2 s; tried 5 times", said)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("part", ["head", "body"])
def test_a_registry_that_trickles_is_given_up(
    part: str, place: str, image: Image, checkout: Checkout, other: Store
) -> None:
    ended = threading.Event()

    def trickle(handler: Hostile) -> None:
        size = len(handler.server.blobs.get(handler.path.rpartition("/")[2], bytes(1000)))
        slow = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
        if part == "body":
            handler.say(200, {"Content-Type": OCI}, length=size)
            slow = bytes(size)
        for byte in slow:
            handler.wfile.write(bytes([byte]))
            if ended.wait(0.05):
                return

    said = going_wrong_at(place, image, checkout, other, trickle)
    ended.set()
    # A busy machine may be so slow that it is silence.
    assert re.search(r"(it gave [0-9]+ bytes in|it said nothing for) [0-9.]+ s; tried 5 times", said)


def test_a_registry_that_thinks_long_before_it_answers_at_once_is_waited_for(image: Image, checkout: Checkout) -> None:
    def answering(handler: Hostile, method: str, path: str) -> bool:
        if method == "PUT" and path.startswith("/upload/"):
            time.sleep(1.0)
        return False

    with hostile(answering) as server:
        push_image(image, repository(server.host, push=True, stall=0.5, commit=20.0), store=checkout.store)
        assert image.lock.manifest in server.blobs


def test_a_registry_that_does_not_take_a_layer_is_given_up(tmp_path: Path) -> None:
    ended = threading.Event()

    def answering(handler: Hostile, method: str, path: str) -> bool:
        if method == "PATCH":
            ended.wait(30)
        return method == "PATCH"

    (tmp_path / "layer").write_bytes(bytes(32 << 20))
    with hostile(answering) as server:
        target = repository(server.host, push=True, stall=0.3)
        with pytest.raises(ToolError, match="did not take in time what it was sent; tried 5 times"):
            target.upload(Digest(f"sha256:{'1' * 64}"), tmp_path / "layer", lambda _: None)
        ended.set()


def test_a_registry_that_forgets_what_it_took_again_and_again_is_given_up(tmp_path: Path) -> None:
    """It says that a little came, then that it knows of nothing: no progress, however often."""
    asked: list[str] = []

    def answering(handler: Hostile, method: str, path: str) -> bool:
        if method == "GET" and path.startswith("/upload/"):
            asked.append(path)
            if len(asked) % 2:
                handler.say(204, {"Range": "0-299"})
            else:
                handler.say(404)
        elif method == "PUT":
            handler.say(503)
        return method == "PUT" or (method == "GET" and path.startswith("/upload/"))

    (tmp_path / "layer").write_bytes(bytes(1000))
    with hostile(answering) as server, pytest.raises(ToolError, match="tried 5 times"):
        repository(server.host, push=True).upload(Digest(f"sha256:{'1' * 64}"), tmp_path / "layer", lambda _: None)
    assert len(asked) < 10


@pytest.mark.parametrize("number", ["\xb2", "9" * 5000, "-1"])
def test_a_number_that_is_none_is_as_if_it_were_not_there(number: str, image: Image, other: Store) -> None:
    def endless(handler: Hostile) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", number)
        handler.send_header("Retry-After", number)
        handler.end_headers()
        handler.wfile.write(served(handler))
        handler.close_connection = True

    with hostile(on("/blobs/", endless)) as server:
        assert pull_image(repository(holding(image, server)), store=other).lock.layers == image.lock.layers
    with (
        hostile(on("/blobs/", lambda it: it.say(503, {"Retry-After": number}))) as server,
        pytest.raises(ToolError, match="tried 5 times"),
    ):
        pull_image(repository(holding(image, server)), store=Store(other.home.parent / "third"))


def test_a_registry_that_gives_a_byte_for_each_connection_is_given_up(image: Image, other: Store) -> None:
    def one(handler: Hostile) -> None:
        start = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        data = served(handler)
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(data) - start))
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.end_headers()
        handler.wfile.write(data[start : start + 1])
        handler.close_connection = True

    with hostile(on("/blobs/", one)) as server, pytest.raises(ToolError, match="tried 5 times"):
        pull_image(repository(holding(image, server)), store=other)
    assert is_empty(other)


def test_a_layer_goes_on_where_the_connection_broke(image: Image, other: Store) -> None:
    asked: list[str | None] = []
    largest = max(image.lock.layers, key=lambda layer: layer.size)

    def answering(handler: Hostile, method: str, path: str) -> bool:
        if largest.digest not in path:
            return False
        wanted = handler.headers.get("Range")
        asked.append(wanted)
        start = int(wanted[6:-1]) if wanted else 0
        whole = served(handler)
        headers = {"Content-Range": f"bytes {start}-{len(whole) - 1}/{len(whole)}"} if wanted else {}
        part = whole[start : start + len(whole) // 3 + 1]
        handler.say(206 if wanted else 200, headers, part, length=len(whole) - start)
        handler.close_connection = True
        return True

    with hostile(answering) as server:
        assert pull_image(repository(holding(image, server)), store=other).lock.layers == image.lock.layers
    assert asked[0] is None
    assert len([one for one in asked if one]) == 2


def test_where_a_layer_cannot_go_on_it_is_read_again_from_its_beginning(image: Image, other: Store) -> None:
    broken = False
    largest = max(image.lock.layers, key=lambda layer: layer.size)

    def answering(handler: Hostile, method: str, path: str) -> bool:
        nonlocal broken
        if largest.digest not in path or broken:
            return False  # and so all of it, with status 200, whatever part was asked for
        broken = True
        whole = served(handler)
        handler.say(200, {}, whole[: len(whole) // 2], length=len(whole))
        handler.close_connection = True
        return True

    with hostile(answering) as server:
        assert pull_image(repository(holding(image, server)), store=other).lock.layers == image.lock.layers
    assert broken


def test_what_fails_for_a_moment_is_tried_again(image: Image, other: Store) -> None:
    failed: dict[str, int] = {}

    def answering(handler: Hostile, method: str, path: str) -> bool:
        failed[path] = failed.get(path, 0) + 1
        if path != "/v2/" and failed[path] == 1:
            handler.say(503, {"Retry-After": "0"})
            return True
        return False

    with hostile(answering) as server:
        assert pull_image(repository(holding(image, server)), store=other).lock.layers == image.lock.layers


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (401, PrerequisiteError, "asks for credentials, and there are none"),
        (403, PrerequisiteError, "You may not pull from .*: not for you"),
        (404, PrerequisiteError, "holds no image sha256"),
        (418, ToolError, r"HTTP 418\): not for you"),
        (429, ToolError, r"too many requests \(HTTP 429\); tried 5 times"),
        (500, ToolError, r"it failed \(HTTP 500\); tried 5 times"),
    ],
)
def test_every_refusal_is_one_clear_sentence(
    status: int, kind: type[HarnessError], said: str, image: Image, other: Store
) -> None:
    words = json.dumps({"errors": [{"code": "DENIED", "message": "not for\n you"}]}).replace("\\n", "").encode()
    headers = {"WWW-Authenticate": 'Basic realm="x"', "Retry-After": "0"}
    with hostile(on("/manifests/", lambda it: it.say(status, headers, words))) as server:
        with pytest.raises(kind, match=said) as refused:
            pull_image(repository(holding(image, server)), store=other)
        assert "\n" not in refused.value.message
    assert is_empty(other)


def test_a_registry_that_quotes_the_password_does_not_have_it_printed(image: Image, other: Store) -> None:
    def echo(handler: Hostile) -> None:
        if "Authorization" not in handler.headers:
            handler.say(401, {"WWW-Authenticate": 'Basic realm="x"'})
            return
        words = f"no, {handler.headers['Authorization']} is {PASSWORD}"
        handler.say(403, {}, json.dumps({"errors": [{"message": words}]}).encode())

    with hostile(on("/manifests/", echo)) as server, pytest.raises(PrerequisiteError) as refused:
        pull_image(repository(holding(image, server), credentials=KNOWN), store=other)
    assert PASSWORD not in str(refused.value)
    assert KNOWN.basic not in str(refused.value)


def with_login(handler: Hostile) -> bool:
    """Ask for the password where it is not given."""
    if "Authorization" in handler.headers:
        return False
    handler.say(401, {"WWW-Authenticate": 'Basic realm="x"'})
    return True


def test_credentials_do_not_follow_a_redirect_to_another_host(image: Image, other: Store) -> None:
    with hostile() as elsewhere:
        holding(image, elsewhere)

        def answering(handler: Hostile, method: str, path: str) -> bool:
            if with_login(handler):
                return True
            if "/blobs/" in path:
                handler.say(307, {"Location": f"http://{elsewhere.host}{path}"})
                return True
            return False

        with hostile(answering) as server:
            pulled = pull_image(repository(holding(image, server), credentials=KNOWN), store=other)
    assert pulled.lock.layers == image.lock.layers
    assert len(elsewhere.asked) == 1 + len(image.lock.layers)
    assert all("Authorization" not in headers for _, _, headers in elsewhere.asked)
    assert any("Authorization" in headers for _, _, headers in server.asked)


def test_credentials_do_not_follow_an_upload_to_another_host(image: Image, checkout: Checkout) -> None:
    with hostile() as elsewhere:

        def answering(handler: Hostile, method: str, path: str) -> bool:
            if with_login(handler):
                return True
            if method == "POST":
                handler.say(202, {"Location": f"http://{elsewhere.host}/upload/1"})
                return True
            return False

        with hostile(answering) as server:
            push_image(image, repository(server.host, push=True, credentials=KNOWN), store=checkout.store)
    assert any(method == "PATCH" for method, _, _ in elsewhere.asked)
    assert all("Authorization" not in headers for _, _, headers in elsewhere.asked)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("http://example.com/x", "not safe to ask"),
        ("ftp://127.0.0.1/x", "not safe to ask"),
        ("file:///etc/passwd", "not safe to ask"),
        ("http://[", "an address or a token that cannot be used"),
    ],
)
def test_a_redirect_to_where_others_could_listen_is_refused(place: str, said: str, image: Image, other: Store) -> None:
    with (
        hostile(on("/blobs/", lambda it: it.say(302, {"Location": place}))) as server,
        pytest.raises(ToolError, match=said) as refused,
    ):
        pull_image(repository(holding(image, server)), store=other)
    assert refused.value.hint
    assert is_empty(other)


def test_a_redirect_in_a_circle_ends(image: Image, other: Store) -> None:
    with (
        hostile(on("/blobs/", lambda it: it.say(302, {"Location": it.path}))) as server,
        pytest.raises(ToolError, match="redirects in a circle"),
    ):
        pull_image(repository(holding(image, server)), store=other)


def test_a_token_is_fetched_with_the_credentials_and_used(image: Image, other: Store) -> None:
    def answering(handler: Hostile, method: str, path: str) -> bool:
        if path.startswith("/token?"):
            right = handler.headers.get("Authorization") == f"Basic {KNOWN.basic}"
            handler.say(200 if right else 401, {}, b'{"token": "abc.def"}')
            return True
        if handler.headers.get("Authorization") != "Bearer abc.def":
            realm = f"http://{handler.server.host}/token"
            challenge = f'Bearer realm="{realm}",service="the registry",scope="repository:everything:*"'
            handler.say(401, {"WWW-Authenticate": challenge})
            return True
        return False

    with hostile(answering) as server:
        pulled = pull_image(repository(holding(image, server), credentials=KNOWN), store=other)
        assert pulled.lock.layers == image.lock.layers
        with pytest.raises(PrerequisiteError, match="does not accept your credentials"):
            pull_image(repository(holding(image, server), credentials=Credentials("x", "y")), store=other)
    tokens = [path for _, path, _ in server.asked if path.startswith("/token?")]
    assert tokens[0] == "/token?scope=repository%3Ateam%2Ftiny%3Apull&service=the+registry"


def test_an_identity_token_is_exchanged_and_never_in_an_address(image: Image, other: Store) -> None:
    bodies = []

    def answering(handler: Hostile, method: str, path: str) -> bool:
        if path == "/token":
            bodies.append(handler.body)
            handler.say(200, {}, b'{"access_token": "abc"}')
            return True
        if handler.headers.get("Authorization") != "Bearer abc":
            handler.say(401, {"WWW-Authenticate": f'Bearer realm="http://{handler.server.host}/token"'})
            return True
        return False

    with hostile(answering) as server:
        known = Credentials(identity_token="very-secret")
        pull_image(repository(holding(image, server), credentials=known), store=other)
    assert b"refresh_token=very-secret" in bodies[0]
    assert not [path for _, path, _ in server.asked if "very-secret" in path]


@pytest.mark.parametrize("answer", [b"[]", b"{", b'{"token": 3}', b'{"token": "a\\r\\nX: y"}', b"\xff"])
def test_a_token_server_that_gives_no_token_is_named(answer: bytes, image: Image, other: Store) -> None:
    def answering(handler: Hostile, method: str, path: str) -> bool:
        if path.startswith("/token"):
            handler.say(200, {}, answer)
        else:
            handler.say(401, {"WWW-Authenticate": f'Bearer realm="http://{handler.server.host}/token"'})
        return True

    with hostile(answering) as server, pytest.raises(ToolError, match="gave no token"):
        pull_image(repository(holding(image, server), credentials=KNOWN), store=other)


def test_an_upload_goes_on_where_the_connection_broke(image: Image, checkout: Checkout) -> None:
    ranges: list[str | None] = []

    def answering(handler: Hostile, method: str, path: str) -> bool:
        server = handler.server
        if method == "GET" and path.startswith("/upload/"):
            handler.say(204, {"Location": "/upload/1", "Range": f"0-{len(server.uploaded) - 1}"})
            return True
        if method == "PATCH":
            ranges.append(handler.headers.get("Content-Range"))
            if len(ranges) == 1:
                server.uploaded += handler.rfile.read(300)
                handler.close_connection = True
                handler.connection.close()
                return True
        return False

    with hostile(answering) as server:
        layer = max(image.lock.layers, key=lambda one: one.size)
        told: list[int] = []
        target = repository(server.host, push=True)
        target.upload(layer.digest, image.blob(layer.digest), told.append)
    assert server.blobs[layer.digest] == image.blob(layer.digest).read_bytes()
    assert ranges == [None, f"300-{layer.size - 1}"]
    assert sum(told) == layer.size


def test_an_upload_that_the_registry_forgot_begins_anew(image: Image, checkout: Checkout) -> None:
    refused = False

    def answering(handler: Hostile, method: str, path: str) -> bool:
        nonlocal refused
        if method == "PUT" and path.startswith("/upload/") and not refused:
            refused = True
            handler.server.uploaded = b""
            handler.say(404)
            return True
        return False

    with hostile(answering) as server:
        pushed = push_image(image, repository(server.host, push=True), store=checkout.store)
        assert refused
        assert server.blobs[pushed.manifest] == image.manifest_bytes
        assert all(digest_of(data) == digest for digest, data in server.blobs.items())


def test_a_registry_that_says_it_kept_something_else_is_not_believed(image: Image, checkout: Checkout) -> None:
    def answering(handler: Hostile, method: str, path: str) -> bool:
        if method == "PUT":
            handler.say(201, {"Docker-Content-Digest": f"sha256:{'1' * 64}"})
            return True
        return False

    with hostile(answering) as server:
        with pytest.raises(IntegrityError, match="by another digest"):
            push_image(image, repository(server.host, push=True), store=checkout.store)
        assert server.requests("DELETE"), "the upload is called off"
        assert not any("/manifests/" in path for path in server.requests("PUT")), "the manifest comes last"


def test_a_registry_that_serves_another_manifest_than_it_was_given_is_not_believed(
    image: Image, checkout: Checkout
) -> None:
    with (
        hostile(on("/manifests/", lambda it: it.say(200, {"Content-Type": OCI}, b"{}"))) as server,
        pytest.raises(IntegrityError, match="served other bytes as the manifest"),
    ):
        push_image(image, repository(server.host, push=True), store=checkout.store)


def test_a_registry_that_holds_a_blob_of_another_size_is_not_believed(image: Image, checkout: Checkout) -> None:
    def answering(handler: Hostile, method: str, path: str) -> bool:
        if method == "HEAD":
            handler.say(200, {}, length=7)
        return method == "HEAD"

    with hostile(answering) as server, pytest.raises(IntegrityError, match="has 7 bytes, and it has"):
        push_image(image, repository(server.host, push=True), store=checkout.store)


def test_a_refused_push_leaves_no_manifest_and_calls_its_upload_off(image: Image, checkout: Checkout) -> None:
    def answering(handler: Hostile, method: str, path: str) -> bool:
        if method == "PUT":
            handler.say(
                400, {}, b'{"errors": [{"code": "DIGEST_INVALID", "message": "provided digest did not match"}]}'
            )
        return method == "PUT"

    with hostile(answering) as server:
        with pytest.raises(ToolError, match=r"refused to keep .* \(HTTP 400\): provided digest did not match"):
            push_image(image, repository(server.host, push=True), store=checkout.store)
        assert server.requests("DELETE")


def manifest_of(image: Image, **changes: object) -> tuple[Digest, bytes]:
    """The image's manifest with some fields replaced."""
    data = json.dumps({**json.loads(image.manifest_bytes), **changes}).encode()
    return digest_of(data), data


def pulled_with(image: Image, other: Store, blobs: dict[Digest, bytes], digest: Digest) -> None:
    with hostile() as server:
        holding(image, server)
        server.blobs |= blobs
        pull_image(repository(f"{server.host}/team/tiny@{digest}"), store=other)


def test_a_manifest_that_is_none_is_refused(image: Image, other: Store) -> None:
    layers = json.loads(image.manifest_bytes)["layers"]
    many = [layers[0]] * 200
    negative = [{**layers[0], "size": -1}, *layers[1:]]
    strange = [{**layers[0], "mediaType": "application/vnd.oci.image.layer.v1.tar+brotli"}, *layers[1:]]
    huge = {**json.loads(image.manifest_bytes)["config"], "size": 1 << 30}
    for changes, said in (
        ({"layers": many}, "200 layers"),
        ({"layers": negative}, "is no image"),
        ({"layers": strange}, "a kind that no engine takes"),
        ({"layers": layers[:-1]}, "contradicts itself"),
        ({"layers": layers[::-1]}, "contradicts itself"),
        ({"layers": "none"}, "cannot be read"),
        ({"config": huge}, "a config of 1073741824 bytes"),
        ({"mediaType": "application/vnd.example"}, "a kind that is not known"),
    ):
        digest, data = manifest_of(image, **changes)
        with pytest.raises(IntegrityError, match=said):
            pulled_with(image, other, {digest: data}, digest)
        assert not other.has(digest)
        assert not list(other.temporary.iterdir())


@pytest.mark.parametrize("more", [512, -512])
def test_a_manifest_with_another_size_of_a_layer_that_is_here_is_refused(more: int, image: Image, other: Store) -> None:
    with hostile() as server:
        pull_image(repository(holding(image, server)), store=other)
    layers = json.loads(image.manifest_bytes)["layers"]
    real = layers[0]["size"]
    layers[0]["size"] = real + more
    digest, data = manifest_of(image, layers=layers)
    with pytest.raises(IntegrityError, match=rf"has {real + more} bytes, and it has {real}"):
        pulled_with(image, other, {digest: data}, digest)
    assert not other.has(digest)


def test_an_index_of_several_images_is_explained(image: Image, other: Store) -> None:
    data = b'{"schemaVersion":2,"manifests":[]}'
    with pytest.raises(UsageError, match="an index of images") as refused:
        pulled_with(image, other, {digest_of(data): data}, digest_of(data))
    assert "by its own digest" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"not compressed at all", "says that it is gzip data, and is not"),
        (gzip.compress(b"something else", mtime=0), "not sha256"),
        (gzip.compress(bytes(10_000), mtime=0)[:-9], "ends too early"),
        (b"", "ends too early"),
        (zlib.compress(b"zlib is not gzip"), "says that it is gzip data, and is not"),
    ],
)
def test_a_compressed_layer_is_what_the_config_says_or_nothing(
    data: bytes, said: str, image: Image, other: Store
) -> None:
    layers = json.loads(image.manifest_bytes)["layers"]
    media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
    layers[0] = {"digest": digest_of(data), "mediaType": media_type, "size": len(data)}
    digest, manifest = manifest_of(image, layers=layers)
    with pytest.raises(IntegrityError, match=said):
        pulled_with(image, other, {digest: manifest, digest_of(data): data}, digest)
    assert not other.has(image.lock.layers[0].digest)
    assert without_layers(other, image)


def test_nobody_at_the_other_end_is_said(other: Store) -> None:
    with pytest.raises(ToolError, match=r"127\.0\.0\.1:1/team/tiny: nobody answers there; tried 5 times"):
        pull_image(repository(f"127.0.0.1:1/team/tiny@sha256:{'0' * 64}"), store=other)


def test_plain_http_elsewhere_is_never_spoken_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def exchange(self: object, request: Request) -> None:
        asked.append(request.url)
        raise ToolError("no further")

    monkeypatch.setattr("harness.images.distribution.connection.Connection.exchange", exchange)
    for options in ({}, {"plain_http": True}):
        with pytest.raises(ToolError, match="no further"):
            repository("registry.example.com", **options).has_blob(Digest(f"sha256:{'0' * 64}"), 1)
    assert [url.partition(":")[0] for url in asked] == ["https", "http"]


def test_a_certificate_for_another_host_is_refused(image: Image, other: Store, certificate: tuple[Path, Path]) -> None:
    with hostile(tls=certificate) as server:
        place = holding(image, server).replace("127.0.0.1", "localhost")
        with pytest.raises(ToolError, match=r"certificate of localhost:\d+ is not accepted"):
            pull_image(repository(place, ca=certificate[0]), store=other)
        right = repository(holding(image, server), ca=certificate[0])
        assert pull_image(right, store=other).lock.layers == image.lock.layers
