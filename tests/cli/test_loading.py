"""What a command loads: only what it needs, so that it answers at once."""

import subprocess
import sys

import pytest
import typer.main

from harness.cli.main import app

SCRIPT = """
import sys
from harness.cli import main
sys.argv = ["harness", *sys.argv[1:]]
try:
    main.main()
except SystemExit:
    pass
found = (name for name in sys.modules if name.startswith(("harness.cli.", "http.client", "docker")))
sys.stderr.write(" ".join(sorted(found)))
"""


def loaded(*arguments: str) -> set[str]:
    """The commands' modules and heavy libraries that a call has loaded at its end."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


def test_a_command_loads_itself_and_not_its_neighbours() -> None:
    build = loaded("build", "--help")
    assert "harness.cli.build" in build
    assert not build & {"harness.cli.run", "harness.cli.compare", "harness.cli.drift", "http.client", "docker"}
    assert "harness.cli.compare" in loaded("compare", "--help")


@pytest.mark.parametrize("name", typer.main.get_command(app).commands)  # type: ignore[attr-defined]
def test_every_command_in_the_list_is_there(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert command.name == name
    assert command.help
