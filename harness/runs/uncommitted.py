"""What is not committed, as one patch: with it and the commit, the files of a run can be made again."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.errors import HarnessError
from harness.record.hashing import digest_of, digest_of_file
from harness.record.results import RunFolder
from harness.runs.git import GitState, git_state, kept_by_harness, require_clean
from harness.runs.repository import Repository, joined, open_repository
from harness.spec.digest import Digest
from harness.store.progress import Progress

PATCH = "uncommitted.patch"
"""The patch's name beside a run's `manifest.json`."""
UNTRACKED_BYTES = 20 << 20
"""How much of untracked files a patch holds; the largest are left out first, and named with their digests."""
_HASHED_BYTES = 1 << 30
_DIFF = ("--patch", "--binary", "--full-index", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv",
         "--ignore-submodules=all")  # fmt: skip


class Uncommitted(msgspec.Struct, frozen=True):
    """A patch that `git apply` takes. Its first lines, each after a `#`, say how to use it and what it does not hold.

    `left_out` are sentences on what the patch does not hold; empty, as a rule.
    """

    patch: bytes
    left_out: tuple[str, ...]


class _Part(msgspec.Struct, frozen=True):
    """One repository's share: the diff, what to do before it is applied, and what it lacks, sentence and details."""

    diff: bytes
    steps: tuple[str, ...] = ()
    left_out: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Checkout(msgspec.Struct, frozen=True):
    """What is known of a folder's version: its state, and the digest of the patch that was kept, if one was."""

    git: GitState
    diff: Digest | None


def keep_checkout(folder: Path, run: RunFolder, results: Path, progress: Progress, *, clean: bool) -> Checkout:
    """The state of `folder` under git, and in the run's folder the patch of what is not committed there.

    Raises:
        UsageError: `clean` is asked for, and the folder is not exactly one commit.
        PrerequisiteError: the patch cannot be written.
    """
    git = require_clean(folder, results) if clean else git_state(folder, results)
    if not git.dirty:
        return Checkout(git, None)
    try:
        found = uncommitted_diff(folder, results)
    except (HarnessError, OSError) as error:
        reason = error.message if isinstance(error, HarnessError) else str(error)
        progress.note(f"What is not committed could not be kept with the run: {reason}")
        return Checkout(git, None)
    if found is None:
        return Checkout(git, None)
    for sentence in found.left_out:
        progress.note(f"{PATCH}: {sentence}")
    run.write(PATCH, found.patch)
    return Checkout(git, digest_of(found.patch))


def uncommitted_diff(folder: Path, results: Path | None = None, *, limit: int = UNTRACKED_BYTES) -> Uncommitted | None:
    """One binary patch from the commit to the files of `folder` as they are now; null outside a repository.

    Untracked files that are not ignored are in it, up to `limit` bytes of them; what the harness keeps under `results`
    is not. Submodules' changes are in it, each against the commit that it is at. The repository is not changed in any
    byte, and no program that its configuration names is run: a file under a filter (git-lfs, git-crypt) is in the patch
    as it lies in the working tree. Git's own conversion of line ends applies, as it does to a commit.

    Raises:
        ToolError: git cannot make the patch.
        OSError: a file cannot be read.
    """
    with open_repository(folder) as repository:
        if repository is None:
            return None
        repository.leave_out(kept_by_harness(results))
        commit = repository.head()
        part = _part(repository, commit, "", limit)
    start = [] if commit is None else [f"git checkout {commit}"]
    steps = [*start, *part.steps, f"git apply --whitespace=nowarn {PATCH}   (at the top of the working tree)"]
    lines = [f"What was not committed at {commit or 'the start: there was no commit yet'}. To have these files again:"]
    lines += [f"  {step}" for step in steps]
    if not part.diff:
        lines.append("Nothing is to be applied.")
    for sentence, details in part.left_out:
        lines += [sentence, *(f"  {detail}" for detail in details)]
    head = "".join(f"# {line}\n" for line in lines).encode()
    return Uncommitted(head + part.diff, tuple(sentence for sentence, _ in part.left_out))


def _part(repository: Repository, commit: str | None, prefix: str, limit: int) -> _Part:
    removed, changed = _tracked(repository)
    others = repository.names("ls-files", "-z", "--others", "--exclude-standard", "--", *repository.paths)
    nested = [name for name in others if name.endswith("/")]
    added, large = _within(repository.top, [name for name in others if not name.endswith("/")], limit)
    if removed:
        repository.git("update-index", "--force-remove", "-z", "--stdin", stdin=joined(removed))
    if changed or added:
        wanted = joined([*changed, *added])
        repository.git("update-index", "--add", "--replace", "--remove", "-z", "--stdin", stdin=wanted)
    base = commit or repository.git("hash-object", "-t", "tree", "--stdin").decode().strip()
    sides = (f"--src-prefix=a/{prefix}", f"--dst-prefix=b/{prefix}")
    diff = repository.git("diff-index", "--cached", *_DIFF, *sides, base, "--", *repository.paths)
    left_out = [*_too_large(repository.top, large, prefix), *_repositories(nested, prefix)]
    parts = [
        _submodule(repository, submodule.path, submodule.folder, prefix, limit) for submodule in repository.submodules
    ]
    return _Part(
        diff + b"".join(part.diff for part in parts),
        tuple(step for part in parts for step in part.steps),
        tuple(left_out) + tuple(item for part in parts for item in part.left_out),
    )


def _tracked(repository: Repository) -> tuple[list[str], list[str]]:
    """Tracked files whose working copy is not as in the index: those that are gone, and those that changed."""
    items = repository.names(
        "diff-files", "--name-status", "-z", "--no-renames", "--ignore-submodules=all", "--", *repository.paths
    )
    removed: list[str] = []
    changed: list[str] = []
    for status, name in zip(items[::2], items[1::2], strict=True):
        (removed if status == "D" else changed).append(name)
    return removed, [name for name in dict.fromkeys(changed) if name not in set(removed)]


def _within(top: Path, names: list[str], limit: int) -> tuple[list[str], list[str]]:
    """The names of small files first, as many as `limit` bytes take, and the rest, each in the order of names."""
    sizes = {name: (top / name).lstat().st_size for name in names}
    kept, total = set(), 0
    for name in sorted(names, key=lambda name: (sizes[name], name)):
        total += sizes[name]
        if total > limit:
            break
        kept.add(name)
    return sorted(kept), sorted(set(names) - kept)


def _too_large(top: Path, names: list[str], prefix: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    if not names:
        return
    details, hashed = [], 0
    for name in names:
        path = top / name
        size = path.lstat().st_size
        hashed += size
        if hashed > _HASHED_BYTES:
            digest = "not hashed"
        else:
            digest = digest_of(os.fsencode(path.readlink())) if path.is_symlink() else digest_of_file(path)
        details.append(f"{json.dumps(prefix + name)} {size} bytes {digest}")
    yield f"Not in this patch, because they are large: {len(names)} untracked files.", tuple(details)


def _repositories(names: list[str], prefix: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    if names:
        details = tuple(json.dumps(prefix + name) for name in names)
        yield f"Not in this patch: {len(names)} untracked folders that are repositories of their own.", details


def _submodule(repository: Repository, path: str, folder: Path, prefix: str, limit: int) -> _Part:
    with open_repository(folder) as submodule:
        where = json.dumps(prefix + path)
        if submodule is None or submodule.top == repository.top:
            return _Part(b"", (), ((f"Not in this patch: the submodule {where}, which git cannot read.", ()),))
        commit = submodule.head()
        inner = _part(submodule, commit, f"{prefix}{path}/", limit)
    step = () if commit is None else (f"git submodule update --init {where} && git -C {where} checkout {commit}",)
    return msgspec.structs.replace(inner, steps=step + inner.steps)
