"""The check that a release must pass, from a clean tree to the page that its manager signs."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harness.errors import ExitCode, UsageError, worst
from harness.locking.imagelock import SCHEMA as IMAGE_SCHEMA
from harness.locking.imagelock import ImageLock
from harness.locking.imagespec import image_names
from harness.locking.lockfile import read_lock
from harness.record.files import write_atomically
from harness.record.hashing import digest_of_file
from harness.record.jsonfile import pretty_json
from harness.record.results import writing
from harness.record.snapshot import timestamp
from harness.release.baseline import Baseline, baseline_names, baseline_path, check_new, find_baseline
from harness.release.create import GoldenRequest, checked_golden
from harness.release.fitting import why_unfit
from harness.release.formats.registry import FORMATS
from harness.release.report import DriftReport
from harness.release.signoff import PAGE, Evidence, SignOff, Step, StepState, html, markdown
from harness.release.site import Site
from harness.release.steps import (
    SBOM,
    GoldenRun,
    Outcome,
    attempt,
    build_images,
    check_locks,
    image_line,
    images_of,
    keep_baseline,
    make_sboms,
    measure_drift,
    repeat_golden,
)
from harness.runs.git import RELEASES, GitState, require_clean
from harness.runs.machine import this_machine
from harness.runs.opening import EngineName, environment
from harness.spec.names import check_names

DEFAULT_GOLDEN = "determinism_test"


class ReleaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks for.

    `baseline` is the release or file to measure drift against (null: the latest), `first` says that there is none yet.
    `environments` empty means every image that has an `image.lock`, and what the baseline holds. `golden` empty means
    the baseline's golden runs, else the package's default experiment; `quick` null leaves each as the baseline has it.
    """

    release: str
    baseline: str | None = None
    first: bool = False
    environments: tuple[str, ...] = ()
    golden: tuple[str, ...] = ()
    quick: bool | None = None


def check_release(request: ReleaseRequest, site: Site) -> tuple[SignOff, Path]:
    """Check a release step by step; the page, which is written whatever the steps say, and the folder that it is in.

    The release's baseline is written if all steps passed. A step that fails ends no other that can still be done.

    Raises:
        UsageError: the tree is not exactly one commit, the release has a baseline already, there is none to measure
            against and it is not a first release, or a name makes no sense. Nothing is done or written then; but pages
            that an earlier check of the release left are removed, unless its name is the trouble.
        IntegrityError: the baseline to measure against was altered.
        PrerequisiteError: the page cannot be written.
    """
    return _Check(request, site).run()


class _Check:
    def __init__(self, request: ReleaseRequest, site: Site) -> None:
        # The page of a release that was made is its evidence: only of one that is not yet, earlier pages go.
        _require_new(request.release, site)
        _remove_pages(site.results / RELEASES / request.release)
        self.request, self.site, self.project = request, site, site.project
        self.git: GitState = require_clean(site.root, site.results, whole=True)
        self.before = _before(request, site)
        self.environments = _environments(request, self.before, site)
        self.goldens = checked_golden(_goldens(request, self.before), site)
        self.locks = _image_locks(site, images_of(site, self.environments))
        self.steps: list[Step] = []
        self.equal: frozenset[str] = frozenset()
        self.runs: tuple[GoldenRun, ...] = ()
        self.drift: DriftReport | None = None
        self.evidence: list[Evidence] = []
        self.uncovered: list[str] = []

    def run(self) -> tuple[SignOff, Path]:
        names = ", ".join(self.environments)
        seen = (f"commit {self.git.commit}, no file differs",)
        self._step("tree", "the working tree is exactly one commit", lambda: Outcome(StepState.PASSED, seen))
        self._step("locks", "locks are committed and fit their specs", lambda: check_locks(self.site, self.git))
        self._step("images", "every layer made again from its artifacts equals its lock", self._images)
        self._step("golden runs", f"training repeats to the bit in {names}", self._golden)
        against = "an earlier release" if self.before is None else f"baseline {self.before.release}"
        self._step("drift", f"environments and numbers against {against}", self._drift)
        self._step("SBOMs", "a bill of materials of each image", self._sboms)
        self._step("baseline", f"what later checks of {self.request.release} start from", self._baseline)
        return self._sign_off()

    def _step(self, name: str, checked: str, act: Callable[[], Outcome]) -> None:
        self.site.progress.note(f"Release check: {name}")
        started = time.monotonic()
        outcome = attempt(act)
        self.uncovered += [f"{name}: {sentence}" for sentence in outcome.not_covered]
        self.steps.append(
            Step(
                name=name,
                checked=checked,
                state=outcome.state,
                seen=outcome.seen,
                seconds=round(time.monotonic() - started, 1),
                exit_code=int(outcome.exit_code),
            )
        )

    def _images(self) -> Outcome:
        outcome, self.equal = build_images(self.site, self.environments, self.locks)
        return outcome

    def _golden(self) -> Outcome:
        outcome, self.runs = repeat_golden(self.site, self.environments, self.goldens)
        self.evidence += [item for run in self.runs for item in run.evidence]
        return outcome

    def _drift(self) -> Outcome:
        outcome, self.drift = measure_drift(self.site, self.before, self.environments, self.request.baseline)
        return outcome

    def _sboms(self) -> Outcome:
        folder = self.site.results / RELEASES / self.request.release
        outcome, found = make_sboms(self.site, self.environments, folder)
        self.evidence += found
        return outcome

    def _baseline(self) -> Outcome:
        failed = [step.name for step in self.steps if step.exit_code != 0]
        if failed:
            return Outcome(StepState.NOT_DONE, (f"no baseline is written: {', '.join(failed)} did not pass",))
        outcome, evidence = keep_baseline(self.request.release, self.site, self.git, self.environments, self.runs)
        self.evidence.append(evidence)
        return outcome

    def _sign_off(self) -> tuple[SignOff, Path]:
        folder = self.site.results / RELEASES / self.request.release
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            page = SignOff(
                release=self.request.release,
                project=self.project,
                commit=self.git.commit or "",
                created_at=timestamp(datetime.now(UTC)),
                machine=_machine(),
                against=None if self.before is None else self.before.release,
                steps=tuple(self.steps),
                images=tuple(image_line(lock, self.equal) for lock in self.locks.values()),
                golden=tuple(run.line for run in self.runs),
                drift=self.drift,
                not_covered=tuple(self._not_covered()),
                evidence=(*self._committed(), *self.evidence, *self._reports(folder)),
                exit_code=int(worst(ExitCode(step.exit_code) for step in self.steps)),
            )
            write_atomically(folder / f"{PAGE}.md", markdown(page).encode())
            write_atomically(folder / f"{PAGE}.html", html(page).encode())
            write_atomically(folder / f"{PAGE}.json", pretty_json(page))
        return page, folder

    def _committed(self) -> list[Evidence]:
        paths = [(f"lock of {name}", self.site.root / "lockfiles" / name / "image.lock") for name in self.locks]
        if self.before is not None:
            given = Path(self.request.baseline or "")
            own = baseline_path(self.site, self.before.release)
            paths.append((f"baseline {self.before.release}", given if given.is_file() else own))
        root = self.site.root
        return [
            Evidence(what, str(path.relative_to(root) if path.is_relative_to(root) else path), digest_of_file(path))
            for what, path in paths
        ]

    def _reports(self, folder: Path) -> list[Evidence]:
        """Write the drift report beside the page, and say where it is."""
        found = []
        for name in ("json", "html") if self.drift is not None else ():
            path = folder / f"drift.{name}"
            assert self.drift is not None  # noqa: S101 - or there would be no name
            write_atomically(path, FORMATS[name].render(self.drift).encode())
            found.append(Evidence(f"drift report, {name}", str(path), digest_of_file(path)))
        return found

    def _not_covered(self) -> list[str]:
        site = self.site
        left = [name for name in image_names(site.root) if name not in self.environments]
        unasked = "it was not asked for" if self.request.environments else None
        golden = [run.experiment for run in self.goldens]
        reasons = {name: unasked or why_unfit(name, site.root, golden) or "it has no image.lock" for name in left}
        sentences = [f"Environment {name}: {reason}." for name, reason in reasons.items()]
        if self.before is not None:
            gone = sorted(set(self.before.environments) - set(self.environments))
            sentences += [
                f"Environment {name} of the baseline {self.before.release}: not part of this check." for name in gone
            ]
        else:
            sentences.append("Drift: there is no earlier baseline, and so nothing that it could have drifted from.")
        sentences += [
            f"All of {golden.experiment}: its quick variant was run." for golden in self.goldens if golden.quick
        ]
        for drift in self.drift.environments if self.drift is not None else ():
            sentences += [f"{item.what} in {drift.name}: {item.reason}" for item in drift.not_tested]
        sentences += self.uncovered
        sentences.append("Other machines: golden runs repeat to the bit on CPUs of this model.")
        sentences.append("Who made this page: it is not signed, and digests do not say who wrote them.")
        return list(dict.fromkeys(sentences))


def _require_new(release: str, site: Site) -> None:
    check_new(release, site)
    if (path := baseline_path(site, release)).exists():
        raise UsageError(
            f"The release {release} has a baseline already: {path}",
            hint="A release never changes: choose another name. If it was never released, remove that file first.",
        )


def _remove_pages(folder: Path) -> None:
    """Remove what an earlier check of the same release left: its `Passed` must not be taken for this check's."""
    sboms = sorted(path.name for path in folder.glob(f"*{SBOM}"))
    for name in (*(f"{PAGE}.{ending}" for ending in ("md", "html", "json")), "drift.json", "drift.html", *sboms):
        with writing(folder / name):
            try:
                (folder / name).unlink(missing_ok=True)
            except NotADirectoryError:
                return


def _before(request: ReleaseRequest, site: Site) -> Baseline | None:
    names = baseline_names(site)
    if request.first and (names or request.baseline is not None):
        there = request.baseline or names[-1]
        raise UsageError(f"This is no first release: there is the baseline {there}", hint="Leave --first out.")
    if request.first:
        return None
    if not names and request.baseline is None:
        raise UsageError(
            f"There is no baseline in {site.baselines} that {request.release} could have drifted from",
            hint="Give --first for a project's first release; that it drifted from nothing then stands on the page.",
        )
    return find_baseline(site, request.baseline)


def _environments(request: ReleaseRequest, before: Baseline | None, site: Site) -> tuple[str, ...]:
    if request.environments:
        names = check_names(request.environments, "environment")
        for name in names:
            environment(name, site.root)
        return tuple(names)
    images = image_names(site.root)
    golden = [run.experiment for run in _goldens(request, before)]
    locked = [name for name in images if (site.root / "lockfiles" / name / "image.lock").exists()]
    locked = [name for name in locked if why_unfit(name, site.root, golden) is None]
    held = [name for name in (before.environments if before else ()) if name in (*images, EngineName.HOST)]
    if not (found := tuple(dict.fromkeys([*locked, *held]))):
        raise UsageError(
            f"No image under {site.root / 'docker'} has an image.lock", hint="`harness build NAME --update` makes it."
        )
    return found


def _goldens(request: ReleaseRequest, before: Baseline | None) -> tuple[GoldenRequest, ...]:
    if request.golden:
        return tuple(GoldenRequest(name, bool(request.quick)) for name in request.golden)
    held = [(run.experiment, run.quick) for run in (before.golden if before else ())] or [(DEFAULT_GOLDEN, False)]
    wanted = [(name, quick if request.quick is None else request.quick) for name, quick in held]
    return tuple(GoldenRequest(name, quick) for name, quick in dict.fromkeys(wanted))


def _image_locks(site: Site, images: Sequence[str]) -> dict[str, ImageLock]:
    paths = {name: site.root / "lockfiles" / name / "image.lock" for name in images}
    return {name: read_lock(path, ImageLock, schema=IMAGE_SCHEMA) for name, path in paths.items() if path.exists()}


def _machine() -> dict[str, str]:
    machine = this_machine()
    models = [] if machine is None else [kind.get("model name", "unknown") for kind in machine.processors]
    return {
        "machine": platform.node(),
        "processor": ", ".join(models) or platform.machine(),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
