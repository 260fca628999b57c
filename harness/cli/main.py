"""The command `harness`: gathers the commands and turns errors into one sentence and an exit code."""

import os
import sys
import traceback
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
import typer.core
import typer.main

from harness.cli.console import stderr
from harness.engines.signals import terminable
from harness.errors import ExitCode, HarnessError

_INTERRUPTED = 130


class Ending:
    """What ends a command from outside passes through typer, which would turn it into an answer of its own."""

    def invoke(self, context: Any) -> Any:
        """Run the command; Ctrl-C is 130, and a reader that went away is trouble."""
        try:
            return super().invoke(context)  # type: ignore[misc]
        except KeyboardInterrupt:
            raise SystemExit(_INTERRUPTED) from None
        except BrokenPipeError:  # whoever read our stdout is gone: nothing more can be said there
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(ExitCode.USAGE) from None


# What each command is, in the order of `harness --help`: a function, or an app with commands of its own. A module is
# loaded when its command is called: all of them would cost every call a sixth of a second.
_COMMANDS = {
    "run": "run.run",
    "exec": "execute.execute",
    "compare": "compare.compare",
    "init": "init.init",
    "build": "build.build",
    "vendor": "vendor.vendor",
    "lock": "lock.lock",
    "image": "image.app",
    "push": "registry.push",
    "pull": "registry.pull",
    "baseline": "baseline.app",
    "drift": "drift.drift",
    "matrix": "matrix.matrix",
    "release-check": "release.release_check",
    "host-environment": "run.host_environment",
    "dataset": "dataset.dataset",
    "clean": "clean.clean",
    "keep": "keep.keep_",
    "runs": "runs.app",
    "store": "store.app",
}
_SETTINGS: dict[str, dict[str, object]] = {"exec": {"allow_interspersed_args": False}}


def _load(name: str) -> typer.core.TyperCommand | typer.core.TyperGroup:
    module, _, attribute = _COMMANDS[name].partition(".")
    command = getattr(import_module(f"harness.cli.{module}"), attribute)
    group = typer.Typer(add_completion=False)
    group.callback()(lambda: None)
    if isinstance(command, typer.Typer):
        group.add_typer(command, name=name)
    else:
        group.command(name, context_settings=_SETTINGS.get(name))(command)
    loaded: Any = typer.main.get_command(group)
    return loaded.commands[name]  # type: ignore[no-any-return]


class _Loading(dict[str, Any]):
    """The commands by name, each loaded when it is first looked at."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(_COMMANDS))

    def __getitem__(self, name: str) -> Any:
        if super().__getitem__(name) is None:
            self[name] = _load(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As a dictionary's."""
        return self[name] if name in self else default  # noqa: SIM401 - that would be this function

    def items(self) -> Any:
        """As a dictionary's; loads all."""
        return [(name, self[name]) for name in self]

    def values(self) -> Any:
        """As a dictionary's; loads all."""
        return [self[name] for name in self]


class _Commands(Ending, typer.core.TyperGroup):
    """The commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Loading()

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class's signature
        """Their names."""
        return list(self.commands)


app = typer.Typer(
    name="harness",
    cls=_Commands,
    help="Build digest-pinned images, train strictly inside them, compare what came out.",
    epilog="Exit codes: 0 done or identical · 1 divergent, or a lock is outdated · 2 usage or tool trouble · "
    "3 incomparable · 4 integrity failure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_debug = False


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    show_tracebacks(debug)


def show_tracebacks(wanted: bool) -> None:
    """Whether errors come with their tracebacks."""
    global _debug
    _debug = wanted


def main() -> NoReturn:
    """Run the command `harness` and exit."""
    run_app(app, "harness")


def run_app(command: typer.Typer, name: str) -> NoReturn:
    """Run a command and exit: every error is one sentence on stderr and design's exit code."""
    with terminable():
        try:
            code = _run(command, name)
        except SystemExit as stop:
            if isinstance(stop.code, int) and stop.code > 128:
                stderr.print(f"{name}: interrupted", markup=False)
            raise
    sys.exit(code)


def _run(command: typer.Typer, name: str) -> int:
    try:
        return command(prog_name=name, standalone_mode=False) or ExitCode.OK
    except HarnessError as error:
        _say(error.message, error.hint)
        return error.exit_code
    except typer.TyperException as error:
        if error.format_message():  # empty where help was asked for by saying nothing
            others = ", or `harness COMMAND --help`" if command is app else ""
            _say(error.format_message(), f"Try `{name} --help`{others}.")
        return ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(_INTERRUPTED) from None
    except OSError as error:
        _say(f"{error.strerror or error}: {error.filename or 'unknown file'}", None)
        return ExitCode.USAGE
    except Exception as error:
        _say(
            f"An error in the harness itself: {type(error).__name__}: {error}", "Run again with --debug, and report it."
        )
        return ExitCode.USAGE


def _say(message: str, hint: str | None) -> None:
    if _debug:
        traceback.print_exc()
    stderr.print(f"harness: {message}", markup=False, highlight=False, style="red")
    if hint:
        stderr.print(f"  {hint}", markup=False, highlight=False)
