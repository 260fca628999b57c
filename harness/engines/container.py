"""How a container is cut off from everything but its declared inputs: every flag, with its reason."""

import re
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from harness.engines.launch import OUTPUT, USER, launch_command, process_environment, working_directory
from harness.errors import UsageError
from harness.spec.run import RunSpec

RUN_LABEL = "harness.run"
OWNER_LABEL = "harness.owner"
IMAGE_LABEL = "harness.image"
ROOT_RUNS_AS = 65532
READ_ONLY = {"/run": "ro,size=4k", "/var/tmp": "ro,size=4k"}  # noqa: S108 - the container's own
"""What podman leaves writable in a read-only container, made read-only by hand."""
_FOLDER = "/harness"
_HOME = "/tmp"  # noqa: S108 - the container's own tmpfs
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SMALLEST_MEMORY = 6 << 20  # Docker's own minimum


def container_options(
    spec: RunSpec,
    *,
    user: tuple[int, int],
    seccomp: str,
    image_environment: Mapping[str, str],
    accounts: Path | None,
    owner: str,
) -> dict[str, Any]:
    """The keyword arguments of `client.containers.create` for a run.

    `user` is uid and gid, `seccomp` the profile as JSON text, `accounts` a folder with the `passwd` and `group` that
    replace the image's, `owner` says who must live for the container to live.

    Raises:
        UsageError: the RunSpec asks for something that makes no sense.
    """
    command = launch_command(spec)
    locations = {name: f"{_FOLDER}/{name}" for name in (*(mount.name for mount in spec.mounts), OUTPUT)}
    path = image_environment.get("PATH", _PATH)
    environment = process_environment(spec, locations=locations, path=path, home=_HOME)
    resources = spec.resources
    if not resources.cpus:
        raise UsageError(f"Run {spec.run_id} names no core to run on")
    if resources.memory is not None and resources.memory < _SMALLEST_MEMORY:
        raise UsageError(f"Run {spec.run_id} asks for {resources.memory} bytes of memory; the least is 6 MiB")
    return {
        "name": f"harness-{re.sub(r'[^a-zA-Z0-9_.-]', '-', spec.run_id)}-{owner.rsplit(':', 1)[-1]}",
        "labels": {RUN_LABEL: spec.run_id, OWNER_LABEL: owner},
        "entrypoint": list(command[:1]),
        "command": list(command[1:]),
        "environment": environment,
        "working_dir": str(Path(locations[OUTPUT], working_directory(spec))),
        "mounts": _mounts(spec, locations, accounts),
        # Nothing comes in or goes out but through the mounts; resolv.conf says the same on every machine.
        "network_mode": "none",
        "hostname": spec.hostname,
        "dns": ["127.0.0.1"],
        "dns_search": ["."],
        # No way to more rights than a plain user has.
        "user": f"{user[0]}:{user[1]}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true", f"seccomp={seccomp}"],
        # An own /dev/shm; a /tmp from which libraries may load what they compile there.
        "ipc_mode": "private",
        "shm_size": resources.shared_memory,
        "tmpfs": {_HOME: f"rw,exec,nosuid,nodev,mode=1777,size={resources.temporary}"},
        # Libraries read the core count, which a CPU quota does not change.
        "cpuset_cpus": ",".join(map(str, sorted(set(resources.cpus)))),
        **({} if resources.memory is None else {"mem_limit": resources.memory, "memswap_limit": resources.memory}),
        "pids_limit": resources.pids,
        "ulimits": [Ulimit(name="core", soft=0, hard=0)],
        # An init reaps orphans and passes SIGTERM on, which a program that is process 1 would not even notice.
        "init": True,
        "stdin_open": False,
        "tty": False,
        # The output goes to us alone, byte for byte; the daemon's log files would keep a second, altered copy.
        "log_config": LogConfig(type="none"),
        **({"device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])]} if spec.gpu else {}),
    }


def own_limits() -> list[Ulimit]:
    """Limits on files and processes that podman may give: of itself it asks for more than one in a container has.

    Podman takes no more processes for itself than the kernel has numbers for.
    """
    files, processes = (resource.getrlimit(number)[1] for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    numbers = int(Path("/proc/sys/kernel/pid_max").read_text())
    limits = {"nofile": files, "nproc": numbers if processes == resource.RLIM_INFINITY else min(processes, numbers)}
    return [Ulimit(name=name, soft=limit, hard=limit) for name, limit in limits.items()]


def accounts_files(uid: int, gid: int) -> dict[str, str]:
    """`passwd` and `group` in which the run's user exists, because programs ask for its name (`getpass.getuser`)."""
    shell = "/usr/sbin/nologin"
    passwd = [f"root:x:0:0:root:/root:{shell}", f"{USER}:x:{uid}:{gid}:{USER}:{_HOME}:{shell}"]
    group = ["root:x:0:"] + ([f"{USER}:x:{gid}:"] if gid != 0 else [])
    return {"passwd": "\n".join(passwd) + "\n", "group": "\n".join(group) + "\n"}


def _mounts(spec: RunSpec, locations: Mapping[str, str], accounts: Path | None) -> list[Mount]:
    mounts = [Mount(locations[item.name], _source(item.source), type="bind", read_only=True) for item in spec.mounts]
    mounts.append(Mount(locations[OUTPUT], _source(spec.output), type="bind", read_only=False))
    if accounts is not None:
        files = (accounts / "passwd", accounts / "group")
        mounts += [Mount(f"/etc/{file.name}", str(file), type="bind", read_only=True) for file in files]
    return mounts


def _source(text: str) -> str:
    try:
        return str(Path(text).resolve(strict=True))
    except OSError as error:
        raise UsageError(f"{text} cannot be mounted: {error.strerror}") from error
