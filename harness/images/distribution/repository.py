"""One repository of a registry: its blobs and manifests, by digest, over HTTP.

Protocol: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md

The registry is not trusted: every byte is held against its digest, and nothing is read without a bound.
"""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.errors import IntegrityError, PrerequisiteError
from harness.images.credentials import Credentials
from harness.images.distribution.authorization import Authorization
from harness.images.distribution.client import Client
from harness.images.distribution.connection import ATTEMPTS, PROGRESS, Connection, Request, patience
from harness.images.distribution.errors import Transient
from harness.images.distribution.source import Advance
from harness.images.distribution.upload import Uploads
from harness.images.remote import RemoteReference
from harness.record.hashing import digest_of
from harness.spec.digest import Digest, digest_from_hex
from harness.store.http import whole_number

MANIFEST_LIMIT = 4 << 20
"""The largest manifest that is read, in bytes: what the specification asks registries to take."""


class Repository:
    """A repository of a registry. Safe to use from several threads.

    `push` asks for the right to write. `ca` is a file of certificates that are trusted beside the system's. Plain HTTP
    is spoken with a registry on this machine, and elsewhere only under `plain_http`. `stall` is for how many seconds
    the registry may say nothing, `commit` for how many it may take to check a blob that it was given.

    Raises:
        UsageError: `ca` cannot be read.
    """

    def __init__(
        self,
        reference: RemoteReference,
        *,
        credentials: Credentials | None,
        push: bool = False,
        ca: Path | None = None,
        plain_http: bool = False,
        stall: float = 60.0,
        commit: float = 900.0,
        delay: float = 0.5,
    ) -> None:
        self.reference = reference
        self._where = f"{reference.host}/{reference.name}"
        self._connection = Connection(reference, ca=ca, plain_http=plain_http, stall=stall, delay=delay)
        authorization = Authorization(self._connection, credentials, "pull,push" if push else "pull")
        self._client = Client(self._connection, authorization)
        self._uploads = Uploads(self._client, self._connection, patience(stall, commit))

    def stop(self) -> None:
        """Call off what other threads are doing."""
        self._connection.stopped.set()

    def has_blob(self, digest: Digest, size: int) -> bool:
        """Whether the repository holds a blob of that size.

        Raises:
            HarnessError: the registry cannot be asked.
            IntegrityError: it says that the blob has another size or digest.
        """
        answer = self._client.ask(Request("HEAD", self._client.url(f"blobs/{digest}")))
        if answer.status == 404:
            return False
        self._client.expect(answer, (200,), f"to say whether it has {digest}")
        self._client.same_digest(answer, digest)
        length = answer.headers.get("Content-Length")
        if length is not None and length != str(size):
            raise IntegrityError(f"{self._where} says that {digest} has {length[:20]} bytes, and it has {size}")
        return True

    def upload(self, digest: Digest, path: Path, advance: Advance) -> None:
        """Send the file `path` as the blob `digest`; go on where a broken connection left off.

        `advance` hears of bytes that are sent for the first time.

        Raises:
            HarnessError: the registry does not take it.
            IntegrityError: it says that it received something else.
        """
        size = path.stat().st_size
        self._uploads.send(digest, path, advance, lambda: self.has_blob(digest, size))

    def put_manifest(self, data: bytes, media_type: str, tag: str | None) -> Digest:
        """Store a manifest, under a tag or by its digest alone, and read it back.

        Raises:
            HarnessError: the registry does not take it.
            IntegrityError: it serves other bytes than it was given.
        """
        digest = digest_of(data)
        url = self._client.url(f"manifests/{tag or digest}")
        answer = self._client.ask(Request("PUT", url, {"Content-Type": media_type}, data))
        self._client.expect(answer, (201,), "to take the image's manifest")
        self._client.same_digest(answer, digest)
        self.manifest(digest, media_type)
        return digest

    def manifest(self, digest: Digest, accept: str) -> tuple[bytes, str]:
        """The bytes of a manifest and their media type, `accept` saying which are understood.

        Raises:
            PrerequisiteError: there is none of that digest.
            HarnessError: the registry does not give it.
            IntegrityError: it gives other bytes, or more than any manifest has.
        """
        request = Request("GET", self._client.url(f"manifests/{digest}"), {"Accept": accept})
        answer = self._client.ask(request, MANIFEST_LIMIT)
        if answer.status == 404:
            raise PrerequisiteError(
                f"{self._where} holds no image {digest}",
                hint="Is it the digest that `harness push` printed? A compressed push has one of its own.",
            )
        self._client.expect(answer, (200,), "to give an image's manifest")
        if digest_of(answer.data) != digest:
            raise IntegrityError(f"{self._where} served other bytes as the manifest {digest}")
        self._client.same_digest(answer, digest)
        return answer.data, answer.headers.get("Content-Type", "").partition(";")[0].strip()

    def chunks(self, digest: Digest, size: int) -> Iterator[bytes]:
        """A blob of `size` bytes, in pieces; a broken connection is taken up again. Ends only if all of it is right.

        Raises:
            PrerequisiteError: the repository does not hold it.
            HarnessError: the registry does not give it.
            IntegrityError: it gives other bytes, fewer or more: what was handed out before is then to be thrown away.
        """
        hashed, received, failures = sha256(), 0, 0
        before = 0
        while received < size:
            try:
                for chunk in self._part(digest, received, size):
                    hashed.update(chunk)
                    received += len(chunk)
                    yield chunk
                if received < size:
                    raise Transient("the answer ended early")
                break
            except Transient as error:
                failures = failures + 1 if received - before < PROGRESS else 1
                before = received
                if failures >= ATTEMPTS:
                    raise self._connection.gave_up(error) from None
                self._connection.wait(failures, error.wait)
        if digest_from_hex(hashed.hexdigest()) != digest:
            raise IntegrityError(f"{self._where} served other bytes as {digest}")

    def _part(self, digest: Digest, offset: int, size: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._client.follow(Request("GET", self._client.url(f"blobs/{digest}"), headers))
        try:
            if answer.status == 404:
                raise PrerequisiteError(
                    f"{self._where} does not hold {digest}, which the image's manifest names",
                    hint="Push the image again: what the registry has is not sent again.",
                )
            if answer.status not in (200, 206):
                self._client.expect(self._connection.read(answer, 0), (200, 206), f"to give {digest}")
            self._client.same_digest(answer, digest)
            skip = offset
            if answer.status == 206:
                if not answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                    raise IntegrityError(f"{self._where} served another part of {digest} than it was asked for")
                skip = 0
            length = whole_number(answer.headers.get("Content-Length", ""))
            if length is not None and length != size - offset + skip:
                raise IntegrityError(
                    f"{self._where} says that {digest} has {length + offset - skip} bytes, and its manifest {size}"
                )
            yield from self._received(answer, skip, size - offset + skip, digest)
        finally:
            answer.close()
            answer.release_conn()

    def _received(self, answer: Any, skip: int, most: int, digest: Digest) -> Iterator[bytes]:
        """The body of an answer without its first `skip` bytes; `most` is how many it may have in all."""
        count = 0
        for chunk in self._connection.pieces(answer):
            count += len(chunk)
            if count > most:
                raise IntegrityError(f"{self._where} served more bytes as {digest} than its manifest says")
            if count > skip:
                yield chunk[max(0, skip - (count - len(chunk))) :]
