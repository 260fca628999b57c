import pwd
from pathlib import Path
from typing import Any

import pytest

from harness.engines.container import accounts_files, container_options
from harness.errors import UsageError
from harness.spec.digest import digest_from_hex
from harness.spec.run import Mount, Resources, RunSpec


def options(tmp_path: Path, *, accounts: Path | None = None, image: dict[str, str] | None = None, **fields: Any) -> Any:
    (tmp_path / "code").mkdir(exist_ok=True)
    resources = Resources(**{"cpus": (1, 0), "memory": 1 << 30, **fields.pop("resources", {})})
    spec = RunSpec(
        **{
            "run_id": "run/ä 1",
            "image": None,
            "argv": ("python3",),
            "environment": {},
            "mounts": (Mount("code", str(tmp_path / "code"), digest_from_hex("0" * 64)),),
            "output": str(tmp_path),
            "resources": resources,
            **fields,
        }
    )
    return container_options(
        spec, user=(7, 8), seccomp="{}", image_environment=image or {}, accounts=accounts, owner="ns:1:2:abc"
    )


def test_every_wall_is_up(tmp_path: Path) -> None:
    found = options(tmp_path)
    assert found["network_mode"] == "none"
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true", "seccomp={}"]
    assert found["user"] == "7:8"
    assert found["ipc_mode"] == "private"
    assert found["cpuset_cpus"] == "0,1"
    assert found["mem_limit"] == found["memswap_limit"] == 1 << 30
    assert found["pids_limit"] == 1024
    assert "privileged" not in found
    assert "cap_add" not in found


def test_only_the_output_mount_can_be_written(tmp_path: Path) -> None:
    mounts = {mount["Target"]: mount["ReadOnly"] for mount in options(tmp_path, accounts=tmp_path)["mounts"]}
    assert mounts == {
        "/harness/code": True, "/harness/output": False, "/etc/passwd": True, "/etc/group": True
    }  # fmt: skip


def test_a_name_that_docker_refuses_becomes_one_that_it_takes(tmp_path: Path) -> None:
    found = options(tmp_path)
    assert found["name"] == "harness-run---1-abc"
    assert found["labels"]["harness.run"] == "run/ä 1"


def test_the_images_own_path_is_kept(tmp_path: Path) -> None:
    assert options(tmp_path, image={"PATH": "/opt/bin"})["environment"]["PATH"] == "/opt/bin"
    assert options(tmp_path)["environment"]["PATH"].startswith("/usr/local/sbin:")


def test_no_memory_limit_is_none_and_a_gpu_is_asked_for_only_if_wanted(tmp_path: Path) -> None:
    without = options(tmp_path, resources={"memory": None})
    assert "mem_limit" not in without
    assert "memswap_limit" not in without
    assert "device_requests" not in without
    assert options(tmp_path, gpu=True)["device_requests"][0]["Capabilities"] == [["gpu"]]


@pytest.mark.parametrize(("limits", "message"), [({"cpus": ()}, "no core"), ({"memory": 1000}, "least is 6 MiB")])
def test_limits_that_make_no_sense_are_refused(tmp_path: Path, limits: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        options(tmp_path, resources=limits)


def test_a_mount_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere cannot be mounted"):
        options(tmp_path, output=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(("uid", "gid"), [(1000, 1000), (1000, 0)])
def test_the_runs_user_exists(uid: int, gid: int) -> None:
    files = accounts_files(uid, gid)
    lines = [line.split(":") for line in files["passwd"].splitlines()]
    assert all(len(line) == len(pwd.struct_passwd.__match_args__ or range(7)) == 7 for line in lines)
    assert [line[0] for line in lines if line[2] == str(uid)] == ["harness"]
    assert sum(line.split(":")[2] == str(gid) for line in files["group"].splitlines()) == 1
