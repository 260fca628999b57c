"""Artifacts into the store, side by side: what it holds already costs nothing, not even a question.

Places are tried in this order: the store; local folders; for wheels the indexes that pip and uv are configured with;
for Debian's files `HARNESS_DEBIAN_MIRROR`, apt's own sources, and the snapshot archive. Whoever serves, the digest
decides.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from harness.errors import HarnessError, IntegrityError, PrerequisiteError
from harness.spec.digest import Digest
from harness.store.artifact import Artifact, DebianFile, Wheel
from harness.store.download import Downloader, Stopped
from harness.store.index import find_wheels
from harness.store.logins import Logins
from harness.store.progress import Progress
from harness.store.sources import SNAPSHOT_ARCHIVE, debian_mirrors, link_folders
from harness.store.store import CorruptObjectError, Store

PARALLEL = 8

Failures = list[tuple[str, str, bool]]


def fetch(
    store: Store,
    artifacts: Sequence[Artifact],
    *,
    progress: Progress,
    environment: Mapping[str, str] = os.environ,
    delay: float = 0.5,
) -> None:
    """Make sure that the store holds every artifact. `delay` is the first wait, in seconds, before asking again.

    Raises:
        PrerequisiteError: an artifact could not be fetched from anywhere (it and every place tried are named), or the
            disk is full.
        IntegrityError: likewise, and at least one place has another file under its name.
    """
    missing = [artifact for artifact in _distinct(artifacts) if not store.has(artifact.digest)]
    if not missing:
        return
    failures: dict[Digest, Failures] = {artifact.digest: [] for artifact in missing}
    missing = [artifact for artifact in missing if not _from_folders(store, artifact, environment, failures)]
    if not missing:
        return
    addresses, sizes = _addresses(missing, environment, failures, progress)
    downloader = Downloader(store, credentials=Logins(environment), delay=delay)
    with progress.task(f"Fetching {len(missing)} files", total=_total(missing, sizes), unit="bytes") as bar:
        advance = _in_turn(bar.advance)

        def one(artifact: Artifact) -> bool:
            digest = artifact.digest
            failures[digest] += (found := downloader.download(digest, artifact.size, addresses[digest], advance))
            return not found

        succeeded = _side_by_side(one, missing, downloader)
    failed = [artifact for artifact, done in zip(missing, succeeded, strict=True) if not done]
    if failed:
        raise _failure(failed, failures)


def fetch_path(
    store: Store, artifact: Artifact, *, progress: Progress, environment: Mapping[str, str] = os.environ
) -> Path:
    """Where the store has an artifact, checked; one that is altered or truncated is set aside and fetched again.

    Raises:
        PrerequisiteError: it could not be fetched from anywhere, or the disk is full.
        IntegrityError: it could not be fetched, and at least one place has another file under its name.
    """
    fetch(store, [artifact], progress=progress, environment=environment)
    try:
        return store.verified_path(artifact.digest)
    except CorruptObjectError as error:
        progress.note(error.message)
    fetch(store, [artifact], progress=progress, environment=environment)
    return store.verified_path(artifact.digest)


def _side_by_side(one: Callable[[Artifact], bool], missing: Sequence[Artifact], downloader: Downloader) -> list[bool]:
    """Call `one` for each artifact in threads; the first exception, or Ctrl-C, calls the rest off."""
    with ThreadPoolExecutor(PARALLEL) as threads:
        futures = [threads.submit(one, artifact) for artifact in missing]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            errors = [future.exception() for future in futures if future.done()]
            if any(errors):
                raise next(error for error in errors if error is not None and not isinstance(error, Stopped))
        except BaseException:
            downloader.stop()
            threads.shutdown(wait=True, cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _distinct(artifacts: Sequence[Artifact]) -> list[Artifact]:
    return list({artifact.digest: artifact for artifact in artifacts}.values())


def _total(artifacts: Sequence[Artifact], sizes: Mapping[Digest, int]) -> float | None:
    """How many bytes there are to fetch, as far as the locks and the index say it."""
    known = [artifact.size or sizes.get(artifact.digest) for artifact in artifacts]
    return sum(size for size in known if size is not None) if all(known) else None


def _in_turn(advance: Callable[[float], None]) -> Callable[[int], None]:
    lock = threading.Lock()

    def locked(amount: int) -> None:
        with lock:
            advance(amount)

    return locked


def _from_folders(
    store: Store, artifact: Artifact, environment: Mapping[str, str], failures: Mapping[Digest, Failures]
) -> bool:
    """Whether a local folder has the artifact; it is then in the store."""
    if not isinstance(artifact, Wheel):
        return False
    for folder in link_folders(environment):
        path = folder / artifact.filename
        try:
            store.put_file(path, artifact.digest)
            return True
        except FileNotFoundError:
            continue
        except IntegrityError:
            failures[artifact.digest].append((str(path), "other bytes than the lock names", True))
        except OSError as error:
            failures[artifact.digest].append((str(path), error.strerror or str(error), False))
    return False


def _addresses(
    missing: Sequence[Artifact], environment: Mapping[str, str], failures: Mapping[Digest, Failures], progress: Progress
) -> tuple[dict[Digest, list[str]], dict[Digest, int]]:
    """The addresses of each artifact, in the order in which to try them, and the sizes that the index knows."""
    found: dict[Digest, list[str]] = {}
    sizes: dict[Digest, int] = {}
    wheels = [artifact for artifact in missing if isinstance(artifact, Wheel)]
    if wheels:
        with progress.task("Asking the package index", total=None):
            places, reasons = find_wheels(wheels, environment)
        for wheel in wheels:
            known = places.get(wheel.digest, [])
            found[wheel.digest] = list(dict.fromkeys(place.address for place in known))
            for place in known:
                if place.size is not None:
                    sizes[wheel.digest] = place.size
            if not known:
                reason = reasons.get(wheel.filename, "no such file")
                failures[wheel.digest].append(("the package index", reason, "another digest" in reason))
    for artifact in missing:
        if isinstance(artifact, DebianFile):
            bases = [*debian_mirrors(artifact.suite, environment), f"{SNAPSHOT_ARCHIVE}/{artifact.snapshot}"]
            found[artifact.digest] = [f"{base}/{artifact.path}" for base in bases]
    return found, sizes


def _failure(failed: Sequence[Artifact], failures: Mapping[Digest, Failures]) -> HarnessError:
    first = failed[0]
    places = [f"{place}: {reason}" for place, reason, _ in failures[first.digest] if place]
    tried = "; ".join(places) or "no place is known that has it"
    more = f", nor could {len(failed) - 1} more" if len(failed) > 1 else ""
    message = f"{first.filename} ({first.digest}) could not be fetched from anywhere{more}: {tried}"
    if isinstance(first, DebianFile):
        hint = "Set HARNESS_DEBIAN_MIRROR to the address or folder of a Debian mirror that holds it."
    else:
        hint = (
            "Set UV_FIND_LINKS to a folder that holds it, or point uv (UV_DEFAULT_INDEX) or pip at an index that does."
        )
    other = any(others for artifact in failed for _, _, others in failures[artifact.digest])
    return IntegrityError(message, hint=hint) if other else PrerequisiteError(message, hint=hint)
