"""Sessions across environments. `nox -l` lists them; each makes its own environment from hash-checked locks."""

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lint", "types", "imports", "tests"]
nox.options.reuse_existing_virtualenvs = True


def _install(session: nox.Session) -> None:
    session.install("--require-hashes", "-r", "lockfiles/host.txt", "-r", "lockfiles/dev.txt")


@nox.session(python=["3.11", "3.12", "3.13"], tags=["quick"])
def outside(session: nox.Session) -> None:
    """Test the orchestrator's rooms, without an engine, on each Python that is installed."""
    _install(session)
    session.run("python", "-m", "pytest", "--ignore=tests/strict", "--ignore=tests/training", "-m", "not docker")


@nox.session(tags=["quick"])
def lint(session: nox.Session) -> None:
    """Lint and check the format."""
    _install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(tags=["quick"])
def types(session: nox.Session) -> None:
    """Check types strictly: the outside with the locks' libraries, the inside with those of the image's lock."""
    _install(session)
    session.run("mypy")
    python = str(session.run("python", "-m", "harness", "host-environment", silent=True)).splitlines()[-1]
    rooms = ("-p", "harness.strict", "-p", "harness.training", "--follow-imports=silent")
    session.run("mypy", *rooms, "--python-executable", python)


@nox.session(tags=["quick"])
def imports(session: nox.Session) -> None:
    """Check that rooms import downwards only."""
    _install(session)
    session.run("lint-imports")


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Run the whole test suite, the real-engine tests included (`make test`)."""
    session.run("make", "test", external=True)


@nox.session(venv_backend="none")
@nox.parametrize("engine", ["docker", "host"])
def deterministic_run(session: nox.Session, engine: str) -> None:
    """Run the default experiment twice in one environment; arguments after -- go to `harness run`."""
    if engine == "docker":
        session.run("make", "engine", external=True)
    session.run("make", ".venv/.ready", external=True)
    session.run(".venv/bin/harness", "run", "--engine", engine, "--runs", "2", *session.posargs, external=True)


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Print the README's figures, as ratios."""
    session.run("make", "bench", external=True)
