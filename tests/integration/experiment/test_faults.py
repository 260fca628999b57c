"""Kills, interrupts, two at once, and places that cannot be written: nothing half-made is left, the next run works."""

import os
import signal
import subprocess

import docker
import pytest

from harness.engines.container import RUN_LABEL

pytestmark = pytest.mark.docker

QUICK = ("--quick", "--families", "ridge")


def containers(shop) -> list[str]:
    """The containers whose output lies in this workshop."""
    client = docker.DockerClient(base_url=os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    listed = client.api.containers(all=True, filters={"label": [RUN_LABEL]})
    inside = str(shop.folder) + "/"
    return [one["Id"] for one in listed if any(mount.get("Source", "").startswith(inside) for mount in one["Mounts"])]


@pytest.fixture
def under_way(own_shop):
    """A run that would take hours, in the middle of its fits."""
    text = (own_shop.folder / "tiny.yaml").read_text()
    (own_shop.folder / "endless.yaml").write_text(text.replace("epochs: 1,", "epochs: 1000000,"))
    process = own_shop.start("--families", "torch_mlp", "--run-name", "endless", experiment="endless.yaml")
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.strip() == "fits":
            break
    assert process.poll() is None, said
    assert len(containers(own_shop)) == 1
    yield process
    process.kill()
    process.communicate()


@pytest.mark.alone
def test_a_killed_run_leaves_nothing_published_and_the_next_one_tidies_up(own_shop, under_way):
    under_way.kill()
    assert under_way.wait(30) == -signal.SIGKILL
    assert [name for name in own_shop.left() if not name.startswith(".endless.partial-")] == []
    refused = own_shop.harness("compare", "endless", "endless")
    assert (refused.code, "no run 'endless'" in refused.sentence) == (2, True)
    finished = own_shop.run("--run-name", "next", *QUICK)
    assert finished.code == 0
    assert "whose harness is gone" in finished.stderr
    assert containers(own_shop) == []
    assert own_shop.left() == ["next"]
    assert own_shop.run("--run-name", "endless", *QUICK).code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_and_removes_the_container_and_leaves_nothing(own_shop, under_way, number, code):
    rival = own_shop.run("--run-name", "endless", *QUICK)
    assert rival.code == 2
    assert rival.sentence == "Another process is making the run endless"
    under_way.send_signal(number)
    stdout, stderr = under_way.communicate(timeout=60)
    assert (under_way.returncode, stdout) == (code, "")
    assert stderr.splitlines()[-1] == "harness: interrupted"
    assert containers(own_shop) == []
    assert own_shop.left() == []


def test_two_runs_at_once_both_succeed(own_shop):
    processes = [own_shop.start("--run-name", name, *QUICK) for name in ("one", "two")]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert own_shop.left() == ["one", "two"]
    assert own_shop.compare("one", "two")[0] == 0
    lines = (own_shop.results / "history.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 4


def test_a_file_in_the_way_of_the_results_is_one_sentence(own_shop):
    (own_shop.folder / "RESULTS").write_text("mine")
    finished = own_shop.run(*QUICK)
    assert finished.code == 2
    assert finished.sentence == "RESULTS cannot be written: file exists"
    assert (own_shop.folder / "RESULTS").read_text() == "mine"


@pytest.fixture
def mounted(tmp_path):
    """Mount a small file system at a new folder; only root can, and not everywhere."""
    made = []

    def mount(name: str, options: str):
        folder = tmp_path / name
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("this user cannot mount a file system")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", folder], check=True)


def test_a_read_only_results_folder_is_one_sentence(own_shop, mounted):
    finished = own_shop.run(*QUICK, "--output-dir", mounted("read-only", "ro") / "RESULTS")
    assert finished.code == 2
    assert finished.sentence.endswith("RESULTS cannot be written: read-only file system")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(own_shop, mounted):
    folder = mounted("full", "size=64k")
    finished = own_shop.run("--output-dir", folder / "RESULTS")
    assert finished.code == 2
    assert "No space left on device" in finished.sentence or "full" in finished.sentence
    assert list((folder / "RESULTS/runs").iterdir()) == []


def test_more_time_or_memory_than_allowed_is_one_sentence(own_shop):
    late = own_shop.run(*QUICK, "--time-limit", "0.2")
    assert (late.code, late.sentence) == (2, "The run did not end within its 0.2 s and was stopped")
    large = own_shop.run(*QUICK, "--memory", "40")
    assert (large.code, large.sentence) == (2, "The run needed more memory than it may have")
    assert own_shop.left() == []


def test_a_reader_that_goes_away_is_not_taken_for_a_divergence(own_shop):
    process = own_shop.start("--run-name", "unread", *QUICK)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(120) == 2
    assert own_shop.left() == ["unread"]
