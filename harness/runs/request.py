"""What a user asked of a run, before anything is looked up."""

from pathlib import Path

import msgspec

from harness.runs.resume import Resume
from harness.spec.run import Mode, Profile


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One training run. Nulls leave what the experiment file, or the environment, says.

    `data` replaces the experiment's data, `results` is the folder that runs are kept in, `workers` is how many fits run
    side by side (null: one a core), `time_limit` is in seconds and `memory` in bytes. `require_clean` refuses a
    checkout that is not exactly one commit. `variables` says whether `REPRO_*` of the caller's environment count.
    """

    experiment: str
    data: Path | None = None
    symbols: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    families: tuple[str, ...] | None = None
    results: Path = Path("RESULTS")
    run_name: str | None = None
    seed: int | None = None
    mode: Mode | None = None
    profile: Profile = Profile.NATIVE
    image: str = "cpu"
    quick: bool = False
    workers: int | None = None
    time_limit: float | None = None
    memory: int | None = None
    plugins: Path | None = None
    randomize_addresses: bool = True
    hostname: str = "harness"
    require_clean: bool = False
    variables: bool = True
    resume: Resume | None = None
