import contextlib
import socket
import threading
from pathlib import Path

import pytest
import requests
from docker.errors import APIError

from harness.engines.connection import connect, daemon_errors, engine_address
from harness.errors import PrerequisiteError, ToolError


@pytest.mark.parametrize(
    "host",
    ["tcp://127.0.0.1:2375", "ssh://user@build", "http://10.0.0.1", "npipe:////./pipe/docker_engine", "build:2375"],
)
def test_a_remote_engine_is_refused_with_the_reason(host: str) -> None:
    with pytest.raises(PrerequisiteError, match="remote engine could neither mount") as caught:
        engine_address({"DOCKER_HOST": host})
    assert host in caught.value.message
    assert "Unset DOCKER_HOST" in str(caught.value)


def test_a_local_socket_is_taken_as_it_is() -> None:
    assert engine_address({"DOCKER_HOST": "unix:///somewhere/docker.sock"}) == "unix:///somewhere/docker.sock"


@pytest.mark.parametrize("environ", [{}, {"DOCKER_HOST": ""}])
def test_without_a_name_the_usual_socket_is_asked(environ: dict[str, str]) -> None:
    assert engine_address(environ) == "unix:///var/run/docker.sock"


def test_a_socket_that_nobody_listens_at_is_a_daemon_that_is_down(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    with pytest.raises(PrerequisiteError, match=r"No Docker daemon answers at unix://.*dead\.sock"):
        connect({"DOCKER_HOST": f"unix://{tmp_path}/dead.sock"})


def test_something_that_is_no_engine_is_not_taken_for_one(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "other.sock"))
        server.listen()

        def answer() -> None:
            with contextlib.suppress(OSError):  # the test's end closes the socket
                while True:
                    connection = server.accept()[0]
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0-OpenSSH\r\n")
                    connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(PrerequisiteError, match="No Docker daemon answers"):
            connect({"DOCKER_HOST": f"unix://{tmp_path}/other.sock"})


def test_a_refusal_is_said_in_the_daemons_words_on_one_line() -> None:
    with pytest.raises(ToolError) as caught, daemon_errors("to start run r"):
        raise APIError("400", explanation="no such\n  thing")
    assert caught.value.message == "The Docker daemon refused to start run r: no such thing"


def test_a_lost_connection_is_a_daemon_that_stopped_answering() -> None:
    with pytest.raises(ToolError, match="stopped answering when asked to start run r"), daemon_errors("to start run r"):
        raise requests.ConnectionError("reset")


def test_what_is_not_the_daemons_fault_stays_what_it_is() -> None:
    with pytest.raises(KeyError), daemon_errors("to start run r"):
        raise KeyError("mine")
