"""Runs in containers of the local Docker daemon, through its SDK."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from docker.errors import APIError, ImageNotFound, NotFound
from docker.models.containers import Container

from harness.engines.connection import connect, daemon_errors, is_podman
from harness.engines.container import (
    IMAGE_LABEL,
    OWNER_LABEL,
    READ_ONLY,
    ROOT_RUNS_AS,
    RUN_LABEL,
    accounts_files,
    container_options,
    own_limits,
)
from harness.engines.delivery import deliver_image, find_image, name_image
from harness.engines.gpu import gpu_errors
from harness.engines.interface import Output
from harness.engines.memory import ContainerMemory
from harness.engines.owner import is_gone, owner_label
from harness.engines.ownership import lent_to
from harness.engines.seccomp import seccomp_profile
from harness.engines.signals import terminable, undisturbed
from harness.engines.stream import Follower
from harness.errors import PrerequisiteError, UsageError
from harness.images.build import Image
from harness.spec.run import KILLED, RunResult, RunSpec
from harness.store.progress import SILENT, Progress

_TICK_SECONDS = 0.2
_GRACE_SECONDS = 5


class DockerEngine:
    """The local Docker daemon. A remote one is refused.

    Raises:
        PrerequisiteError: no daemon answers, or not one that can do what a run needs.
    """

    name = "docker"

    def __init__(self, *, progress: Progress = SILENT) -> None:
        self._client = connect()
        self._api: Any = self._client.api  # its stubs leave some functions without types
        self._progress = progress
        self._podman = is_podman(self._client)

    def describe(self) -> dict[str, str]:
        """The daemon, its storage and its kernel."""
        with daemon_errors("to describe itself"):
            info = self._client.info()
            version = self._client.version()
        return {
            "engine": "podman" if self._podman else "docker",
            "version": str(version.get("Version", "")),
            "api": str(version.get("ApiVersion", "")),
            "storage_driver": str(info.get("Driver", "")),
            "cgroup_version": str(info.get("CgroupVersion", "")),
            "operating_system": str(info.get("OperatingSystem", "")),
            "kernel": str(info.get("KernelVersion", "")),
        }

    def prepare(self, image: Image) -> None:
        """Have the daemon hold `image`; at once where it does."""
        if find_image(self._client, image.reference) is None:
            deliver_image(self._client, image, self._progress)

    def load(self, image: Image) -> str:
        """Have the daemon hold `image` under a name that a person can type; that name.

        Raises:
            HarnessError: as `prepare`.
        """
        identity = find_image(self._client, image.reference) or deliver_image(self._client, image, self._progress)
        return name_image(self._client, image, identity)

    def run(self, spec: RunSpec, *, on_stdout: Output, on_stderr: Output) -> RunResult:
        """Run one container to its end and remove it. `peak_memory` counts the page cache, as the limit does.

        Past the time limit the program gets SIGTERM, and five seconds later SIGKILL.
        """
        if spec.image is None:
            raise UsageError(f"Run {spec.run_id} names no image, and the Docker engine runs nothing without one")
        image = find_image(self._client, spec.image)
        if image is None:
            raise PrerequisiteError(
                f"The Docker daemon holds no image {spec.image.name} of digest {spec.image.manifest}",
                hint=f"Run: harness build {spec.image.name}",
            )
        if spec.gpu and self._podman:
            raise PrerequisiteError(
                "Podman gives a container no GPU through its Docker-compatible socket, and would not say so",
                hint="Use Docker for this image, or run another one.",
            )
        user = _run_user()
        self._remove_orphans()
        with (
            terminable(),
            _accounts(user) as accounts,
            self._seccomp(spec) as seccomp,
            lent_to(Path(spec.output), user),
            self._container(spec, image=image, user=user, accounts=accounts, seccomp=seccomp) as container,
        ):
            return self._follow(spec, container, on_stdout=on_stdout, on_stderr=on_stderr)

    def _follow(self, spec: RunSpec, container: Container, *, on_stdout: Output, on_stderr: Output) -> RunResult:
        identity = str(container.id)
        with daemon_errors(f"to watch run {spec.run_id}"):
            follower = Follower(self._client, identity)
        began = time.monotonic()
        with gpu_errors(wanted=spec.gpu), daemon_errors(f"to start run {spec.run_id}"):
            container.start()
        follower.started()
        memory = ContainerMemory(self._process_of(container))
        timed_out = False

        def tick() -> None:
            nonlocal timed_out
            memory.sample()
            limit = spec.resources.time_limit
            if limit is not None and not timed_out and time.monotonic() - began > limit:
                timed_out = True
                with daemon_errors(f"to stop run {spec.run_id}"):
                    self._api.stop(identity, timeout=_GRACE_SECONDS)

        for chunk in follower.follow(tick=tick, seconds=_TICK_SECONDS):
            (on_stderr if chunk.is_error else on_stdout)(chunk.data)
        wall_seconds = time.monotonic() - began
        with daemon_errors(f"to report on run {spec.run_id}"):
            state = self._api.inspect_container(identity)["State"]
        return RunResult(
            exit_code=follower.exit_code,
            wall_seconds=wall_seconds,
            timed_out=timed_out,
            out_of_memory=bool(state.get("OOMKilled"))
            or (self._podman and _ran_out_of_memory(spec, follower.exit_code, memory.peak)),
            peak_memory=memory.peak,
        )

    @contextmanager
    def _container(
        self, spec: RunSpec, *, image: str, user: tuple[int, int], accounts: Path | None, seccomp: str
    ) -> Iterator[Container]:
        options = container_options(
            spec,
            user=user,
            seccomp=seccomp,
            image_environment=self._image_environment(image),
            accounts=accounts,
            owner=owner_label(),
        )
        if self._podman:
            options["ulimits"] += own_limits()
            options["tmpfs"] |= READ_ONLY
        container = None
        try:
            doing = f"to create the container of run {spec.run_id}"
            with undisturbed(), gpu_errors(wanted=spec.gpu), daemon_errors(doing):
                container = self._client.containers.create(image, **options)
            yield container
        finally:
            if container is not None:
                with undisturbed():
                    self._remove(container, spec)

    @contextmanager
    def _seccomp(self, spec: RunSpec) -> Iterator[str]:
        """The run's seccomp profile as the engine takes it: Docker the JSON itself, podman a file's path."""
        profile = seccomp_profile(fixed_addresses=not spec.randomize_addresses)
        if not self._podman:
            yield profile
            return
        with tempfile.NamedTemporaryFile("w", prefix="harness-seccomp-", suffix=".json") as file:
            file.write(profile)
            file.flush()
            yield file.name

    def _remove(self, container: Container, spec: RunSpec) -> None:
        try:
            with daemon_errors(f"to remove the container of run {spec.run_id}"):
                container.remove(force=True, v=True)
        except NotFound:
            pass
        except Exception as error:  # the run's own end matters more than that of its container
            self._progress.note(f"{error}".splitlines()[0] + "; `harness clean` removes it later")

    def _image_environment(self, image: str) -> dict[str, str]:
        with daemon_errors("to show an image"):
            config = self._api.inspect_image(image).get("Config") or {}
        pairs = (entry.partition("=") for entry in config.get("Env") or [])
        return {name: value for name, _, value in pairs}

    def _process_of(self, container: Container) -> int:
        with daemon_errors("to show a container"):
            return int(self._api.inspect_container(str(container.id))["State"]["Pid"])

    def _remove_orphans(self) -> None:
        """Remove containers whose harness was killed: nobody waits for them, and they hold cores and memory."""
        with daemon_errors("to list containers"):
            summaries = self._api.containers(all=True, filters={"label": [RUN_LABEL, OWNER_LABEL]})
        for summary in summaries:
            if is_gone(summary["Labels"][OWNER_LABEL]):
                self._progress.note(
                    f"Removing the container of run {summary['Labels'][RUN_LABEL]}, whose harness is gone"
                )
                try:
                    self._api.remove_container(summary["Id"], force=True, v=True)
                except (APIError, NotFound):
                    continue  # another harness removes it at this moment


def clean(*, dry_run: bool) -> list[str]:
    """Remove every container and image that carries our labels from the local daemon; return what, a line each.

    Runs that are under way are left alone, with their images.

    Raises:
        PrerequisiteError: no daemon answers.
        ToolError: the daemon failed.
    """
    client = connect()
    with daemon_errors("to list what is ours"):
        containers = client.api.containers(all=True, filters={"label": [RUN_LABEL]})
        images = client.api.images(filters={"label": [IMAGE_LABEL]})
    live = [summary for summary in containers if _is_live(summary)]
    removed = []
    for summary in containers:
        if summary not in live:
            if not dry_run:
                _ignore_missing(client.api.remove_container, summary["Id"], force=True, v=True)
            removed.append(f"container of run {summary['Labels'][RUN_LABEL]}")
    in_use = {summary["ImageID"] for summary in live}
    for summary in images:
        if summary["Id"] not in in_use:
            if not dry_run:
                _ignore_missing(client.api.remove_image, summary["Id"], force=True)
            removed.append(f"image {_label_of(summary)}")
    return removed


def _is_live(summary: dict[str, Any]) -> bool:
    return summary["State"] == "running" and not is_gone(summary["Labels"].get(OWNER_LABEL, ""))


def _label_of(summary: dict[str, Any]) -> str:
    tags = [tag for tag in summary.get("RepoTags") or [] if tag != "<none>:<none>"]
    return tags[0] if tags else f"{summary['Labels'][IMAGE_LABEL]} ({summary['Id'][7:19]})"


def _ignore_missing(remove: Any, identity: str, **options: Any) -> None:
    with daemon_errors(f"to remove {identity[:19]}"), suppress(NotFound, ImageNotFound):
        remove(identity, **options)


def _ran_out_of_memory(spec: RunSpec, exit_code: int, peak: int | None) -> bool:
    """Whether the kernel ended a run at its limit: what podman does not say of itself."""
    limit = spec.resources.memory
    return exit_code == KILLED and limit is not None and peak is not None and peak >= limit


def _run_user() -> tuple[int, int]:
    """The caller, or for root a user without any rights."""
    return (ROOT_RUNS_AS, ROOT_RUNS_AS) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


@contextmanager
def _accounts(user: tuple[int, int]) -> Iterator[Path | None]:
    """A folder with the `passwd` and `group` in which `user` exists; null for the user that images themselves hold."""
    if user[0] == ROOT_RUNS_AS:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="harness-accounts-") as name:
        folder = Path(name)
        for file, text in accounts_files(*user).items():
            (folder / file).write_text(text)
            (folder / file).chmod(0o644)
        yield folder
