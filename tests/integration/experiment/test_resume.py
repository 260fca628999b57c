"""`harness run` killed with its container, and resumed."""

import json
import os
import time

import docker
import pytest

from harness.engines.container import RUN_LABEL

pytestmark = pytest.mark.docker


def kill_with_its_container(shop, process) -> None:
    """SIGKILL to the harness, and to the container that it leaves, once a network has a checkpoint."""
    runs = shop.results / "runs"
    while not list(runs.glob(".cut.*/work/checkpoints/fits/*/torch_mlp/*/steps/step-*.checkpoint")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=60)
    client = docker.DockerClient(base_url=os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    inside = f"{shop.folder}/"
    for one in client.api.containers(filters={"label": [RUN_LABEL]}):
        if any(mount.get("Source", "").startswith(inside) for mount in one["Mounts"]):
            client.api.kill(one["Id"], "SIGKILL")


@pytest.mark.alone
def test_a_run_killed_with_its_container_goes_on_to_the_same_fingerprints(own_shop):
    text = (own_shop.folder / "tiny.yaml").read_text()
    text = text.replace("epochs: 1,", "epochs: 40,").replace("name: tiny", "name: long")
    text = text.replace("views: [CROSS_SECTIONAL, SYMBOL_SPECIFIC]\nsymbol_specific: [BBB]\n", "")
    text = text.replace("targets: [fwd_ret_5d, fwd_up_5d]", "targets: [fwd_ret_5d]")
    (own_shop.folder / "long.yaml").write_text(f"{text}checkpoints: {{every: 4}}\n")
    whole = own_shop.run("--run-name", "whole", experiment="long.yaml")
    assert whole.code == 0, whole
    kill_with_its_container(own_shop, own_shop.start("--run-name", "cut", experiment="long.yaml"))
    other = own_shop.run("--run-name", "other", "--resume", "--seed", "7", experiment="long.yaml")
    assert (other.code, "cut cannot be gone on with" in other.stderr) == (3, True), other
    resumed = own_shop.run("--run-name", "resumed", "--resume", experiment="long.yaml")
    assert resumed.code == 0, resumed
    assert "Resuming cut, attempt 2" in resumed.stderr
    assert resumed.fingerprints == whole.fingerprints
    assert len(whole.fingerprints) == 4
    attempts = json.loads((own_shop.run_folder("resumed") / "attempts.json").read_bytes())["attempts"]
    assert any("torch_mlp" in name for name in attempts[1]["resumed_from"])
    assert own_shop.left() == ["resumed", "whole"]
