import hashlib
import os
import socket
import subprocess
import threading
import zipfile

import pytest

from harness.errors import IntegrityError, PrerequisiteError
from harness.record.hashing import digest_of
from harness.store import download, http, index, sources
from harness.store import fetch as fetch_module
from harness.store.artifact import DebianFile, Wheel
from harness.store.fetch import PARALLEL, fetch, fetch_path
from harness.store.http import ATTEMPTS, AddressError, open_address, read_address
from harness.store.progress import SILENT
from harness.store.store import Store

CONTENT = bytes(range(256)) * 4000
TOO_SLOW = r"it gave [0-9]+ bytes in [0-9.]+ s|no answer in time"  # a busy machine may be so slow that it is silence
PATH = "/pool/main/a/app/app_1_amd64.deb"


class Bytes:
    """A progress that adds up what it hears."""

    def __init__(self):
        self.count = 0.0
        self.wanted = None
        self.notes = []

    def task(self, description, *, total=None, unit="items"):
        self.wanted = total if unit == "bytes" else self.wanted
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def advance(self, amount=1):
        self.count += amount

    def note(self, message):
        self.notes.append(message)


def closed_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{made.getsockname()[1]}"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No test asks a machine other than this one."""
    monkeypatch.setattr(sources, "_apt_sources", lambda apt: ())
    monkeypatch.setattr(fetch_module, "SNAPSHOT_ARCHIVE", closed_port() + "/snapshot")


def deb(content=CONTENT, path=PATH):
    return DebianFile(path.lstrip("/"), digest_of(content), len(content), "bookworm", "20260101T000000Z")


def get(store, server, artifact, progress=SILENT, **environment):
    variables = {"HARNESS_DEBIAN_MIRROR": server.address, "HOME": "/nonexistent", **environment}
    fetch(store, [artifact], progress=progress, environment=variables, delay=0.01)


def leftovers(store):
    return [*store.temporary.iterdir(), *(store.home / "partial").iterdir()]


def test_a_file_is_fetched_once(store, server):
    server.files[PATH] = CONTENT
    progress = Bytes()
    get(store, server, deb(), progress)
    assert store.read_bytes(deb().digest) == CONTENT
    assert (progress.count, progress.wanted) == (len(CONTENT), len(CONTENT))
    get(store, server, deb())
    assert len(server.requests) == 1
    assert leftovers(store) == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_breaks_is_resumed_or_restarted(store, server, ranges):
    server.files[PATH] = CONTENT
    server.faults[PATH] = ["die", "die"]
    server.ranges = ranges
    progress = Bytes()
    get(store, server, deb(), progress)
    assert store.read_bytes(deb().digest) == CONTENT
    half = len(CONTENT) // 2
    asked = [asked for _, asked in server.requests]
    assert asked == [None, f"bytes={half}-", f"bytes={half + half // 2 if ranges else half}-"]
    assert progress.count == len(CONTENT)


@pytest.mark.parametrize("fault", ["503", "500", "429", "408"])
def test_a_server_that_is_busy_is_asked_again(store, server, fault):
    server.files[PATH] = CONTENT
    server.faults[PATH] = [fault, fault]
    get(store, server, deb())
    assert store.has(deb().digest)


def test_a_file_that_is_not_there_is_not_asked_for_again(store, server):
    with pytest.raises(PrerequisiteError, match="HTTP 404"):
        get(store, server, deb())
    assert len(server.requests) == 1


def test_a_server_that_lies_is_passed_over(store, server):
    server.files = {"/bad" + PATH: b"\0" * len(CONTENT), "/good" + PATH: CONTENT}
    mirrors = f"{server.address}/bad {server.address}/good"
    progress = Bytes()
    get(store, server, deb(), progress, HARNESS_DEBIAN_MIRROR=mirrors)
    assert store.read_bytes(deb().digest) == CONTENT
    assert progress.count == len(CONTENT)


def test_a_file_that_every_place_has_otherwise_is_an_integrity_failure_and_leaves_nothing(store, server):
    server.files[PATH] = CONTENT[:-1] + b"\0"
    with pytest.raises(IntegrityError, match=r"app_1_amd64.deb.*other bytes than the lock names") as caught:
        get(store, server, deb())
    assert "HARNESS_DEBIAN_MIRROR" in str(caught.value)
    assert not store.has(deb().digest)
    assert leftovers(store) == []


def test_an_endless_answer_is_cut_off(store, server):
    server.files[PATH] = CONTENT
    server.faults[PATH] = ["endless"]
    with pytest.raises(PrerequisiteError, match=f"more than {len(CONTENT)} bytes"):
        get(store, server, deb())
    assert leftovers(store) == []


def test_what_came_before_a_kill_is_resumed(store, server):
    server.files[PATH] = CONTENT
    (store.home / "partial" / deb().digest.removeprefix("sha256:")).write_bytes(CONTENT[:1000])
    progress = Bytes()
    get(store, server, deb(), progress)
    assert server.requests == [(PATH, "bytes=1000-")]
    assert progress.count == len(CONTENT)


@pytest.mark.parametrize("fault", ["trickle", "trickled head"])
def test_a_server_that_trickles_is_given_up(store, server, monkeypatch, fault):
    monkeypatch.setattr(http, "TIMEOUT", 0.2)
    server.files[PATH] = CONTENT
    server.faults[PATH] = [fault] * (ATTEMPTS + 1)
    with pytest.raises(PrerequisiteError, match=TOO_SLOW):
        get(store, server, deb())
    assert len(server.requests) == ATTEMPTS
    get(store, server, deb())
    assert store.read_bytes(deb().digest) == CONTENT, "one that trickles for a moment is asked again"


@pytest.mark.parametrize("fault", ["trickle", "trickled head"])
def test_an_index_that_trickles_is_given_up(server, monkeypatch, fault):
    monkeypatch.setattr(http, "TIMEOUT", 0.2)
    server.files["/index"] = CONTENT
    server.faults["/index"] = [fault] * ATTEMPTS
    with pytest.raises(AddressError, match=TOO_SLOW):
        read_address(f"{server.address}/index", limit=len(CONTENT))
    assert len(server.requests) == ATTEMPTS


@pytest.mark.parametrize("partial", [b"wrong", b"\0" * len(CONTENT), b"\0" * (len(CONTENT) + 5)])
def test_a_wrong_part_from_before_is_thrown_away(store, server, partial):
    server.files[PATH] = CONTENT
    (store.home / "partial" / deb().digest.removeprefix("sha256:")).write_bytes(partial)
    progress = Bytes()
    get(store, server, deb(), progress)
    assert store.read_bytes(deb().digest) == CONTENT
    assert progress.count == len(CONTENT)


def test_a_file_that_nobody_has_is_named_with_every_place_and_what_to_do(store, server):
    with pytest.raises(PrerequisiteError) as caught:
        get(store, server, deb())
    text = str(caught.value)
    assert "app_1_amd64.deb" in text
    assert deb().digest in text
    assert f"{server.address}{PATH}: HTTP 404" in text
    assert "/snapshot/20260101T000000Z/pool" in text
    assert "connection refused" in text
    assert "Set HARNESS_DEBIAN_MIRROR" in text


def test_a_server_that_is_down_is_waited_for_once(store, monkeypatch):
    asked = []
    monkeypatch.setattr(
        download, "open_address", lambda *given, **named: asked.append(given) or open_address(*given, **named)
    )
    dead = closed_port()
    artifacts = [deb(bytes([number]) * 10, f"/pool/main/a/{number}.deb") for number in range(40)]
    variables = {"HARNESS_DEBIAN_MIRROR": dead, "HOME": "/nonexistent"}
    with pytest.raises(PrerequisiteError, match="nor could 39 more"):
        fetch(store, artifacts, progress=SILENT, environment=variables, delay=0.05)
    there = [address for (address,) in asked if address.startswith(dead)]
    assert ATTEMPTS <= len(there) <= ATTEMPTS * PARALLEL, "those that were under way may each have found out"


def test_many_files_are_fetched_side_by_side(store, server):
    artifacts = []
    for number in range(30):
        content = os.urandom(10_000)
        server.files[f"/pool/main/a/{number}.deb"] = content
        artifacts.append(deb(content, f"/pool/main/a/{number}.deb"))
    server.faults["/pool/main/a/7.deb"] = ["die", "503"]
    variables = {"HARNESS_DEBIAN_MIRROR": server.address, "HOME": "/nonexistent"}
    fetch(store, [*artifacts, artifacts[0]], progress=SILENT, environment=variables, delay=0.01)
    assert all(store.read_bytes(artifact.digest) for artifact in artifacts)
    assert len(server.requests) == 32


def test_two_that_fetch_the_same_file_at_once_fetch_it_once(store, server):
    server.files[PATH] = CONTENT * 20
    artifact = deb(CONTENT * 20)
    threads = [threading.Thread(target=get, args=(store, server, artifact)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 1
    assert store.has(artifact.digest)


def test_an_altered_object_is_fetched_again(store, server):
    server.files[PATH] = CONTENT
    progress = Bytes()
    variables = {"HARNESS_DEBIAN_MIRROR": server.address, "HOME": "/nonexistent"}
    path = fetch_path(store, deb(), progress=progress, environment=variables)
    path.chmod(0o644)
    path.write_bytes(CONTENT[:-1])
    assert fetch_path(store, deb(), progress=progress, environment=variables).read_bytes() == CONTENT
    assert "altered or truncated" in progress.notes[0]


def test_a_password_is_sent_and_never_shown(store, server):
    address = server.address.replace("://", "://user:s%40cret@")
    with pytest.raises(PrerequisiteError) as caught:
        get(store, server, deb(), HARNESS_DEBIAN_MIRROR=address)
    assert "cret" not in str(caught.value)
    assert server.authorizations == ["Basic dXNlcjpzQGNyZXQ="]


def test_a_mirror_may_be_a_folder(store, tmp_path, server):
    file = tmp_path / "mirror" / PATH.lstrip("/")
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    get(store, server, deb(), HARNESS_DEBIAN_MIRROR=str(tmp_path / "mirror"))
    assert store.has(deb().digest)
    assert server.requests == []


def make_wheel(folder, name="demo", version="1.0", text="x = 1\n"):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", text)
        archive.writestr(
            f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return Wheel(name, version, path.name, digest_of(path.read_bytes())), path


def serve_index(server, path, name="demo"):
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    server.files[f"/files/{path.name}"] = data
    link = f'<!DOCTYPE html><html><body><a href="/files/{path.name}#sha256={sha256}">{path.name}</a></body></html>'
    server.files[f"/simple/{name}/"] = link.encode()


def uv_variables(server, tmp_path, **more):
    kept = {key: os.environ[key] for key in ("PATH", "SSL_CERT_FILE") if key in os.environ}
    return {
        **kept,
        "HOME": str(tmp_path / "nobody"),
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_DEFAULT_INDEX": f"{server.address}/simple",
        "UV_NO_CONFIG": "1",
        "PIP_CONFIG_FILE": os.devnull,
        **more,
    }


@pytest.mark.parametrize("variable", ["UV_FIND_LINKS", "PIP_FIND_LINKS"])
@pytest.mark.parametrize("as_address", [False, True])
def test_a_wheel_is_taken_from_a_local_folder_first(store, server, tmp_path, variable, as_address):
    wheel, path = make_wheel(tmp_path / "links")
    entry = path.parent.as_uri() if as_address else str(path.parent)
    separator = "," if variable.startswith("UV") else " "
    variables = uv_variables(server, tmp_path, **{variable: separator.join([str(tmp_path / "nowhere"), entry])})
    fetch(store, [wheel], progress=SILENT, environment=variables)
    assert store.has(wheel.digest)
    assert server.requests == []


@pytest.mark.parametrize("configured", ["uv", "pip variable", "pip file"])
def test_a_wheel_is_taken_from_the_index_that_uv_or_pip_is_configured_with(store, server, tmp_path, configured):
    wheel, path = make_wheel(tmp_path / "built")
    serve_index(server, path)
    variables = uv_variables(server, tmp_path)
    if configured != "uv":
        index = variables.pop("UV_DEFAULT_INDEX")
        config = tmp_path / "pip.conf"
        config.write_text(f"[global]\nindex-url = {index}\n" if configured == "pip file" else "")
        variables["PIP_CONFIG_FILE"] = str(config)
        if configured == "pip variable":
            variables["PIP_INDEX_URL"] = index
    fetch(store, [wheel], progress=SILENT, environment=variables)
    assert store.read_bytes(wheel.digest) == path.read_bytes()


def test_a_local_wheel_with_other_bytes_is_passed_over(store, server, tmp_path):
    wheel, path = make_wheel(tmp_path / "built")
    serve_index(server, path)
    other, _ = make_wheel(tmp_path / "links", text="x = 2\n")
    assert other.filename == wheel.filename
    fetch(
        store,
        [wheel],
        progress=SILENT,
        environment=uv_variables(server, tmp_path, UV_FIND_LINKS=str(tmp_path / "links")),
    )
    assert store.read_bytes(wheel.digest) == path.read_bytes()


def test_a_wheel_whose_hash_was_changed_in_the_lock_is_an_integrity_failure(store, server, tmp_path):
    wheel, path = make_wheel(tmp_path / "built")
    serve_index(server, path)
    changed = Wheel(wheel.name, wheel.version, wheel.filename, digest_of(b"other"))
    with pytest.raises(IntegrityError, match=f"another digest, {wheel.digest}"):
        fetch(store, [changed], progress=SILENT, environment=uv_variables(server, tmp_path))


def test_a_wheel_that_nobody_has_does_not_keep_others_from_being_fetched(store, server, tmp_path):
    wheel, path = make_wheel(tmp_path / "built")
    serve_index(server, path)
    missing = Wheel("missing", "1.0", "missing-1.0-py3-none-any.whl", digest_of(b"missing"))
    with pytest.raises(PrerequisiteError, match=r"missing-1\.0-py3-none-any\.whl") as caught:
        fetch(store, [wheel, missing], progress=SILENT, environment=uv_variables(server, tmp_path))
    assert "UV_FIND_LINKS" in str(caught.value)
    assert store.has(wheel.digest)


def test_an_index_that_is_down_is_not_asked_for_each_wheel(store, server, tmp_path, monkeypatch):
    asked = []
    real = index.pip_compile
    monkeypatch.setattr(index, "pip_compile", lambda *a, **k: asked.append(a) or real(*a, **k))
    wheels = [Wheel(name, "1.0", f"{name}-1.0-py3-none-any.whl", digest_of(name.encode())) for name in ("a", "b", "c")]
    variables = uv_variables(server, tmp_path, UV_DEFAULT_INDEX="http://127.0.0.1:9/", UV_HTTP_RETRIES="0")
    with pytest.raises(PrerequisiteError, match=r"a-1\.0-py3-none-any\.whl .* nor could 2 more: .*refused"):
        fetch(store, wheels, progress=SILENT, environment=variables)
    assert len(asked) == 1


def test_a_full_disk_is_named_and_the_part_is_thrown_away(tmp_path, server):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], check=False, capture_output=True
    ).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        store = Store(disk / "home")
        server.files[PATH] = CONTENT
        with pytest.raises(PrerequisiteError, match="is full"):
            get(store, server, deb())
        assert leftovers(store) == []
    finally:
        store.close()
        subprocess.run(["umount", disk], check=True)
