"""The steps of a release check, one function each: what it looks at, and what came of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from harness.errors import ExitCode, HarnessError, UsageError, worst
from harness.images.build import build
from harness.locking.check import check
from harness.locking.imagelock import ImageLock
from harness.record.archive import LoadedRun, find_runs
from harness.record.compare import compare_loaded
from harness.record.files import write_atomically
from harness.record.hashing import digest_of_file
from harness.record.layout import MANIFEST
from harness.record.results import writing
from harness.record.verdicts import Verdict
from harness.release.baseline import Baseline, Golden, sealed, write_baseline
from harness.release.create import GoldenRequest, create_baseline
from harness.release.drift import DriftRequest, check_drift
from harness.release.formats.sentences import verdict
from harness.release.formats.text import count, listed
from harness.release.golden import golden_of, run_golden
from harness.release.observe import obstacle, sources
from harness.release.report import DriftReport
from harness.release.signoff import Evidence, GoldenCellLine, GoldenLine, ImageLine, StepState
from harness.release.site import Site
from harness.runs.git import GitState, git_state, listed_files, project_files
from harness.runs.opening import EngineName, environment

SBOM = ".cdx.json"


class Outcome(msgspec.Struct, frozen=True):
    """How a step ended: `seen` are sentences for people, `exit_code` is what it calls for.

    `not_covered` are those of the sentences that say what was not looked at.
    """

    state: StepState
    seen: tuple[str, ...]
    exit_code: ExitCode = ExitCode.OK
    not_covered: tuple[str, ...] = ()


class GoldenRun(msgspec.Struct, frozen=True, kw_only=True):
    """A golden run made for a release: what the page shows of it, what a baseline keeps, and where it lies."""

    line: GoldenLine
    golden: Golden
    evidence: tuple[Evidence, ...]


def check_locks(site: Site, git: GitState) -> Outcome:
    """Whether every lockfile and spec is in the commit, and fits what it was made from."""
    tracked = project_files(site.root) or frozenset()  # of a clean tree, where nothing is untracked
    found = sorted(
        path.relative_to(site.root).as_posix()
        for folder in ("docker", "lockfiles")
        for path in (site.root / folder).rglob("*")
        if path.is_file()
    )
    ignored = [f"{name} is not committed: git ignores it" for name in found if name not in tracked]
    outdated = [f"{item.lock} {item.message}; `{item.remedy}` mends it" for item in check(site.root)]
    if ignored or outdated:
        code = ExitCode.USAGE if ignored else ExitCode.DIVERGENT
        return Outcome(StepState.FAILED, (*ignored, *outdated), code)
    seen = f"{count(len(found), 'file')} under docker/ and lockfiles/, all of commit {git.commit}, none outdated"
    return Outcome(StepState.PASSED, (seen,))


def build_images(
    site: Site, environments: Sequence[str], locks: Mapping[str, ImageLock]
) -> tuple[Outcome, frozenset[str]]:
    """Make every layer of every image again and hold it against its lock; also the images that came out equal."""
    seen, codes, equal = [], [], set()
    for name in images_of(site, environments):
        if name not in locks:
            seen.append(f"{name}: there is no image.lock; `harness build {name} --update` makes it")
            codes.append(ExitCode.USAGE)
            continue
        try:
            lock = build(name, root=site.root, store=site.store, progress=site.progress, anew=True)
        except HarnessError as error:
            seen.append(f"{name}: {error.message}")
            codes.append(error.exit_code)
        else:
            equal.add(name)
            seen.append(f"{name}: {count(len(lock.layers), 'layer')} made anew, {lock.manifest} as locked")
    if not seen:
        return Outcome(StepState.NOT_DONE, ("no environment of this release has an image",)), frozenset()
    return _outcome(seen, codes), frozenset(equal)


def repeat_golden(
    site: Site, environments: Sequence[str], requests: Sequence[GoldenRequest]
) -> tuple[Outcome, tuple[GoldenRun, ...]]:
    """Run every golden experiment in every environment until it was repeated: against earlier runs, or once more."""
    seen, codes, runs, untested = [], [], [], []
    for name in environments:
        known = environment(name, site.root)
        if (reason := obstacle(known, sources(site.root, known.image), site.root)) is not None:
            untested.append(f"{name}: not tested: {reason}")
            codes.append(ExitCode.INCOMPARABLE)
            continue
        for request in requests:
            what = f"{request.experiment}{' (quick)' if request.quick else ''} in {name}"
            site.progress.note(f"Golden run of {what}")
            try:
                run = _repeated(name, request, site)
            except HarnessError as error:
                seen.append(f"{what}: {error.message}")
                codes.append(error.exit_code)
                continue
            runs.append(run)
            codes.append(golden_code(run.line))
            seen.append(f"{what}: {count(len(run.line.cells), 'cell')}, {run.line.summary}")
    return _outcome([*seen, *untested], codes, untested), tuple(runs)


def measure_drift(
    site: Site, before: Baseline | None, environments: Sequence[str], baseline: str | None
) -> tuple[Outcome, DriftReport | None]:
    """The drift of those environments since a baseline that holds them, with its golden runs, nothing taken as known.

    Raises:
        HarnessError: it cannot be told: the baseline holds none of them, say, or is altered.
    """
    if before is None:
        why = "this is a first release (--first): there is no baseline, and so nothing that it could have drifted from"
        return Outcome(StepState.NOT_DONE, (why,)), None
    candidates = tuple(name for name in environments if name in before.environments)
    if not candidates:
        raise UsageError(
            f"The baseline {before.release} holds none of {', '.join(environments)}",
            hint=f"It holds {', '.join(before.environments)}: name one of them with --environment.",
        )
    golden = any(run.environment in candidates for run in before.golden)
    request = DriftRequest(baseline=baseline or before.release, candidates=candidates, golden=golden, fresh=True)
    report = check_drift(request, site)
    seen = [verdict(report)]
    unrun = [] if golden else [f"the baseline {before.release} holds no golden run of them: the probe alone tells"]
    new = [f"{name} is new: the baseline does not hold it" for name in environments if name not in candidates]
    return _outcome([*seen, *new, *unrun], [ExitCode(report.exit_code)], [*new, *unrun]), report


def make_sboms(site: Site, environments: Sequence[str], folder: Path) -> tuple[Outcome, tuple[Evidence, ...]]:
    """Write the bill of materials of each image into `folder`: it follows from the locks that were checked."""
    from harness.images.sbom import image_sbom  # late: the library takes a third of a second to load

    found = []
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in images_of(site, environments):
            path = folder / f"{name}{SBOM}"
            write_atomically(path, image_sbom(name, root=site.root, store=site.store, progress=site.progress))
            found.append(Evidence(f"SBOM of {name}", path.as_posix(), digest_of_file(path)))
    if not found:
        none = ("no image is part of this check, so there is no SBOM",)
        return Outcome(StepState.NOT_DONE, none, not_covered=none), ()
    return Outcome(StepState.PASSED, tuple(f"{item.where} {item.digest}" for item in found)), tuple(found)


def keep_baseline(
    release: str, site: Site, git: GitState, environments: Sequence[str], runs: Sequence[GoldenRun]
) -> tuple[Outcome, Evidence]:
    """Survey every environment and write the release's baseline, with the golden runs that were just made.

    Raises:
        UsageError: the tree is not any more what was checked.
    """
    now = git_state(site.root, site.results)
    if now != git:
        changed = listed_files(now.files) or f" it is at {now.commit} now"
        raise UsageError(
            f"The tree changed while it was checked:{changed}",
            hint="Check again, and leave the tree alone meanwhile.",
        )
    surveyed, path = create_baseline(release, site, environments=environments, golden=(), write=False)
    baseline = sealed(
        release=release,
        project=surveyed.project,
        architecture=surveyed.architecture,
        commit=git.commit,
        dirty=False,
        code=surveyed.code,
        environments=tuple(surveyed.environments.values()),
        golden=[run.golden for run in runs],
    )
    write_baseline(baseline, site)
    shown = path.relative_to(site.root).as_posix()
    held = f"{listed(list(baseline.environments))} and {count(len(baseline.golden), 'golden run')}"
    seen = (f"{shown} holds {held}", "commit it with the release: every later check starts from it")
    return Outcome(StepState.PASSED, seen), Evidence(f"baseline {release}", shown, digest_of_file(path))


def images_of(site: Site, environments: Iterable[str]) -> tuple[str, ...]:
    """The environments that are images of their own; `host` is made from another's locks."""
    return tuple(name for name in environments if environment(name, site.root).engine is EngineName.DOCKER)


def image_line(lock: ImageLock, equal: frozenset[str]) -> ImageLine:
    """What the page shows of an image."""
    return ImageLine(
        name=lock.name,
        manifest=lock.manifest,
        config=lock.config,
        layers=len(lock.layers),
        anew=lock.name in equal,
    )


def golden_code(line: GoldenLine) -> ExitCode:
    """0 only where every cell was repeated to the bit: what could not be compared is no pass."""
    verdicts = {cell.verdict for cell in line.cells}
    if Verdict.DIVERGENT.value in verdicts:
        return ExitCode.DIVERGENT
    return ExitCode.OK if verdicts == {Verdict.IDENTICAL.value} else ExitCode.INCOMPARABLE


def attempt(act: Callable[[], Outcome]) -> Outcome:
    """What a step came to; an error of it is a failure with the error's own exit code, and ends no other step."""
    try:
        return act()
    except HarnessError as error:
        lines = [line.strip() for line in error.message.splitlines()]
        seen = (*lines, *((error.hint,) if error.hint else ()))
        return Outcome(StepState.FAILED, seen, error.exit_code)
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        return Outcome(StepState.FAILED, (f"{error.strerror or error}{place}",), ExitCode.USAGE)


def _outcome(seen: Sequence[str], codes: Sequence[ExitCode], not_covered: Sequence[str] = ()) -> Outcome:
    code = worst(codes)
    state = {ExitCode.OK: StepState.PASSED, ExitCode.INCOMPARABLE: StepState.NOT_DONE}.get(code, StepState.FAILED)
    return Outcome(state, tuple(seen), code, tuple(not_covered))


def _repeated(name: str, request: GoldenRequest, site: Site) -> GoldenRun:
    """A golden run that was held against an earlier one of each cell's group, or against a second one made now."""
    run = run_golden(name, request.experiment, request.quick, site)
    verdicts = {(each.target, each.view, each.symbol or "", each.family): each for each in run.manifest.verdicts}
    said = {key: (each.verdict, each.reasons) for key, each in verdicts.items()}
    names = {stored.label.run_id: stored.label.run_name for stored in find_runs(site.results)}
    against = {names.get(each.against, each.against) for each in verdicts.values() if each.against}
    runs = [run]
    if Verdict.UNVERIFIED in {verdict for verdict, _ in said.values()}:
        site.progress.note(f"Golden run of {request.experiment} in {name} once more: nothing to compare it with yet")
        again = run_golden(name, request.experiment, request.quick, site)
        runs.append(again)
        against.add(again.label.run_name)
        for cell in compare_loaded(run, again).cells:
            key = (cell.target, cell.view, cell.symbol or "", cell.family)
            if key not in said or said[key][0] is Verdict.UNVERIFIED:
                said[key] = (cell.verdict, cell.reasons)
    line = _line(name, request, run, said, against)
    evidence = tuple(
        Evidence(
            f"golden run {each.label.run_name}", str(each.folder / MANIFEST), digest_of_file(each.folder / MANIFEST)
        )
        for each in runs
    )
    return GoldenRun(line=line, golden=golden_of(run, name, request.experiment, request.quick), evidence=evidence)


def _line(
    name: str,
    request: GoldenRequest,
    run: LoadedRun,
    said: Mapping[tuple[str, str, str, str], tuple[Verdict, tuple[str, ...]]],
    against: Iterable[str],
) -> GoldenLine:
    cells = []
    for cell in run.cells:
        verdict_of, reasons = said.get(cell.key, (Verdict.UNVERIFIED, ("the run has no verdict on it",)))
        cells.append(
            GoldenCellLine(
                target=cell.target,
                view=cell.view,
                symbol=cell.symbol,
                family=cell.family,
                fingerprint=cell.fingerprint,
                metrics=cell.metrics,
                verdict=verdict_of.value,
                reasons=reasons,
            )
        )
    return GoldenLine(
        environment=name,
        experiment=request.experiment,
        quick=request.quick,
        run=run.label.run_name,
        against=tuple(sorted(against)),
        cells=tuple(cells),
    )
