"""A baseline: everything a later check needs of a release, in one canonical file under `lockfiles/baselines/`."""

import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec
from packaging.version import InvalidVersion, Version

from harness.errors import IncomparableError, IntegrityError, UsageError
from harness.record.cells import Metrics
from harness.record.files import write_atomically
from harness.record.fingerprints import cell_fingerprint
from harness.record.hashing import signature
from harness.record.jsonfile import decode_document, pretty_json
from harness.record.snapshot import Group
from harness.release.files import source_files
from harness.release.site import Site
from harness.release.state import EnvironmentState
from harness.spec.digest import Digest
from harness.spec.names import check_name

SCHEMA = "harness.baseline/1"
"""Raised with every change of a type in here, of sources and surveys too: a file reads as it was written or not."""
SUFFIX = ".json"
MAX_BYTES = 64 << 20
_RESTORE = "Restore it from version control."
_ALTERED = f"{_RESTORE} A release never changes: `git log --patch` says who changed its file."


class GoldenResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One cell of a golden run: its comparison group in full, its outputs' digests, its metrics."""

    target: str
    view: str
    symbol: str | None
    family: str
    group: Group
    outputs: dict[str, Digest]
    fingerprint: Digest
    metrics: Metrics

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The cell's key, as `record.cells.Cell` has it: (target, view, symbol or empty, family)."""
        return (self.target, self.view, self.symbol or "", self.family)


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A golden run: `experiment` as `harness run` takes it (a path is relative to the checkout), in one environment."""

    environment: str
    experiment: str
    quick: bool
    cells: tuple[GoldenResult, ...]


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One release. Nothing in it says when it was made: the same release made again gives the same bytes.

    `architecture` is the machine's (`x86_64`), `commit` and `dirty` are the checkout's (null outside git), `code` is
    the digest of the rooms that run inside, `digest` is over everything else.
    """

    schema: str = SCHEMA
    release: str
    project: str
    architecture: str
    commit: str | None
    dirty: bool | None
    code: Digest
    environments: dict[str, EnvironmentState]
    golden: tuple[Golden, ...]
    digest: Digest


def sealed(
    *,
    release: str,
    project: str,
    architecture: str,
    commit: str | None,
    dirty: bool | None,
    code: Digest,
    environments: Sequence[EnvironmentState],
    golden: Sequence[Golden],
) -> Baseline:
    """A baseline with its digest; environments and golden runs in the order of their names.

    Raises:
        UsageError: `release` cannot be the name of a file.
        IntegrityError: its parts contradict each other.
    """
    unsealed = Baseline(
        release=_check_release(release),
        project=project,
        architecture=architecture,
        commit=commit,
        dirty=dirty,
        code=code,
        environments={state.name: state for state in sorted(environments, key=lambda state: state.name)},
        golden=tuple(sorted(golden, key=lambda run: (run.environment, run.experiment, run.quick))),
        digest=Digest(f"sha256:{'0' * 64}"),
    )
    # Through the types once, so that the digest is of what a reader will decode (an integral metric becomes a float).
    typed = msgspec.convert(msgspec.to_builtins(unsealed), Baseline)
    baseline = msgspec.structs.replace(typed, digest=_seal(typed))
    _check(baseline, f"The baseline {release}")
    return baseline


def read_baseline(path: Path) -> Baseline:
    """The baseline in the file `path`, which is called after its release; everything in it is checked.

    Raises:
        UsageError: the file is not there, no plain file, too large, not called after its release, or written in
            another version of the schema.
        IntegrityError: a byte of it was changed, or it contradicts itself.
    """
    data = _bytes(path)
    try:
        baseline = decode_document(data, Baseline, SCHEMA, name=str(path))
    except UsageError as error:
        raise UsageError(error.message, hint="Check with the version of harness that wrote it.") from error
    except IntegrityError as error:
        raise IntegrityError(error.message, hint=_ALTERED) from error
    if _seal(baseline) != baseline.digest:
        raise IntegrityError(f"{path} was altered: its digest is not that of its content", hint=_ALTERED)
    if pretty_json(baseline) != data:
        raise IntegrityError(f"{path} is not in the form that the harness writes: it was edited by hand", hint=_ALTERED)
    if path.name != f"{baseline.release}{SUFFIX}":
        raise UsageError(
            f"{path} holds the baseline of the release {baseline.release}, which its name does not say",
            hint=f"Call it {baseline.release}{SUFFIX}, or remove the copy.",
        )
    _check(baseline, str(path))
    return baseline


def baseline_names(site: Site) -> tuple[str, ...]:
    """The releases that have a baseline, oldest first by version; names that are no versions come before all others.

    Raises:
        UsageError: two are of the same release, in another case or another spelling of the version, say.
    """
    if not site.baselines.is_dir():
        return ()
    found = [path for path in site.baselines.iterdir() if path.suffix.lower() == SUFFIX]
    stems = sorted(path.stem for path in found if not path.name.startswith("."))
    for name in stems:
        _check_release(name)
        if stems.count(name) > 1:
            raise UsageError(
                f"{site.baselines} holds two files of the release {name}, which differ in case alone",
                hint=f"Keep the one that is called {name}{SUFFIX}.",
            )
        if (twin := _twin(name, stems)) is not None:
            raise UsageError(
                f"{site.baselines} holds two baselines of the same release, {name} and {twin}",
                hint="Keep the one that version control knows as the release's.",
            )
    versions = {name: version for name in stems if (version := _version(name)) is not None}
    return (*(name for name in stems if name not in versions), *sorted(versions, key=lambda name: versions[name]))


def find_baseline(site: Site, name: str | None) -> Baseline:
    """The baseline of that release, or in the file of that path; the latest release's where `name` is null.

    Raises:
        UsageError: there is none.
        HarnessError: as for `read_baseline` and `baseline_names`.
    """
    if name is not None and ("/" in name or name.endswith(SUFFIX)):
        return read_baseline(Path(name))
    names = baseline_names(site)
    if not names:
        raise UsageError(
            f"There is no baseline in {site.baselines}", hint="Make one: `harness baseline create --release v1.0`."
        )
    if name is not None and name not in names:
        raise UsageError(f"There is no baseline of {name[:60]!a}", hint=f"There is: {', '.join(names)}.")
    return read_baseline(baseline_path(site, name or names[-1]))


def baseline_path(site: Site, release: str) -> Path:
    """Where the baseline of a release lies.

    Raises:
        UsageError: `release` cannot be the name of a file.
    """
    return site.baselines / f"{_check_release(release)}{SUFFIX}"


def check_new(release: str, site: Site) -> None:
    """Refuse a release that another name stands for already; its own baseline may be there.

    Raises:
        UsageError: the name cannot be a file's, or differs from another release's in case or spelling alone.
    """
    if (twin := _twin(_check_release(release), baseline_names(site))) is not None:
        raise UsageError(
            f"The release {release} is the same as {twin}, which has a baseline",
            hint="Choose another name, or remove that baseline.",
        )


def write_baseline(baseline: Baseline, site: Site, *, replace: bool = False) -> Path:
    """Write a baseline to its place, unless the same bytes lie there already.

    Raises:
        UsageError: that release, or one of the same name but for its case, has another baseline; or it cannot be
            written.
    """
    check_new(baseline.release, site)
    path, data = baseline_path(site, baseline.release), pretty_json(baseline)
    if path.exists():
        if _bytes(path) == data:
            site.progress.note(f"{path} is as it was: nothing changed")
            return path
        if not replace:
            raise UsageError(
                f"{path} is there already, with another content",
                hint="A release never changes: choose another name, or give --replace.",
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def check_applies(baseline: Baseline, site: Site) -> None:
    """Refuse to hold a checkout against the baseline of something else.

    Raises:
        UsageError: it is of another project.
        IncomparableError: it was made on a machine of another architecture.
    """
    if baseline.project != site.project:
        raise UsageError(
            f"The baseline {baseline.release} is of the project {baseline.project}, and this is {site.project}",
            hint="A project is called as its pyproject.toml says, and without one after its folder.",
        )
    if baseline.architecture != platform.machine():
        raise IncomparableError(
            f"The baseline {baseline.release} is of {baseline.architecture}, and this machine is {platform.machine()}",
            hint="Check on a machine of the same architecture, or keep a baseline for each.",
        )


def _seal(baseline: Baseline) -> Digest:
    """Over what the file says: fields that are left out of it (a default, `UNSET`) are left out here too."""
    content = msgspec.to_builtins(baseline)
    return signature({name: value for name, value in content.items() if name != "digest"})


def _bytes(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is not a plain file", hint=_RESTORE)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is larger than any baseline ({MAX_BYTES} bytes)", hint=_RESTORE)
    return data


def _check_release(name: str) -> str:
    """The name itself, if it can be that of a file and is not read as one where a release is asked for."""
    if name.lower().endswith(SUFFIX):
        raise UsageError(f"The release {name[:60]!a} ends with {SUFFIX}", hint=f"Leave {SUFFIX} out: the file gets it.")
    return check_name(name, "release")


def _version(name: str) -> Version | None:
    try:
        return Version(name)
    except InvalidVersion:
        return None


def _twin(name: str, names: Sequence[str]) -> str | None:
    """Another of the `names` that stands for the same release."""
    for other in names:
        same = other.lower() == name.lower() or (_version(name) is not None and _version(name) == _version(other))
        if other != name and same:
            return other
    return None


def _check(baseline: Baseline, where: str) -> None:
    def refuse(problem: str) -> None:
        raise IntegrityError(f"{where} contradicts itself: {problem}", hint=_RESTORE)

    _check_release(baseline.release)
    if not baseline.environments:
        refuse("it holds no environment")
    for name, state in baseline.environments.items():
        if state.name != name:
            refuse(f"its environment {name} is called {state.name}")
        if state.survey is None:
            refuse(f"its environment {name} was not surveyed")
        try:
            source_files(state.sources)
        except IntegrityError as error:
            refuse(f"in its environment {name}, {error.message}")
    runs = [(golden.environment, golden.experiment, golden.quick) for golden in baseline.golden]
    if runs != sorted(set(runs)):
        refuse("its golden runs are not sorted, or one is there twice")
    for golden in baseline.golden:
        if golden.environment not in baseline.environments:
            refuse(f"the golden run {golden.experiment} is of {golden.environment}, which it does not hold")
        keys = [cell.key for cell in golden.cells]
        if not keys or keys != sorted(set(keys)):
            refuse(f"the cells of the golden run {golden.experiment} are not sorted, or one is there twice, or none is")
        for cell in golden.cells:
            if cell.fingerprint != cell_fingerprint(cell.outputs):
                refuse(f"the fingerprint of {cell.target} {cell.family} is not that of its outputs")
