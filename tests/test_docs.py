"""What the pages tell people to type must be something that can be typed, and what they link to must be there."""

import re
import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import typer.main

from harness.cli import ml_train
from harness.cli.main import app

CHECKOUT = Path(__file__).parents[1]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
MAKEFILE = (CHECKOUT / "Makefile").read_text().replace("$(VENV)", ".venv")
COMMANDS: Any = typer.main.get_command(app)
ML_TRAIN: Any = typer.main.get_command(ml_train.app)
_START = re.compile(r"^(?:\.venv/bin/)?harness (?=[a-z-])")
_MENU = re.compile(r" · |\s\[|[a-z]\|[a-z]")
_ALTERNATIVES = re.compile(r"\b[a-z]+(?:\|[a-z]+)+\b")


def code(page: Path) -> Iterator[tuple[int, str, bool]]:
    """What is code in a page: line number, text, and whether it can be typed as it is.

    What stands inside a sentence may be incomplete, and so may a line that offers a choice.
    """
    block = False
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            block = not block
        elif block:
            yield number, line.strip(), _MENU.search(line) is None
        else:
            for span in re.findall(r"`([^`]+)`", line):
                yield number, span, False


def calls(text: str) -> Iterator[list[str]]:
    """The calls of the command in a line of code, as arguments: `a|b` is both, `[--c]` is with and without."""
    text = re.sub(r"(^|\s)#.*", "", text.removeprefix("$ "))
    for part in re.split(r" · | \| | && |; ", text):
        if not _START.match(part.strip()):
            continue
        words = [_choices(word) for word in shlex.split(_START.sub("", part.strip()))]
        for chosen in product(*words):
            yield [word for word in chosen if word is not None]


def _choices(word: str) -> list[str | None]:
    if re.fullmatch(r"\[.*\]", word):
        return [word[1:-1], None]
    return list(word.split("|")) if _ALTERNATIVES.fullmatch(word) else [word]


def parse(arguments: list[str], *, whole: bool) -> None:
    """Hand arguments to the real command line without running anything; what a sentence names may be incomplete."""
    command: Any = COMMANDS
    words = list(arguments)
    while hasattr(command, "commands") and words:
        assert words[0] in command.commands, f"there is no command {words[0]!r} in {sorted(command.commands)}"
        command = command.commands[words.pop(0)]
    if whole:
        command.make_context("harness", words)
        return
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    own = words[: words.index("--")] if "--" in words else words
    for word in own:
        if word.startswith("--"):
            assert word.partition("=")[0] in known | {"--help"}, f"{word} is none of {sorted(known)}"


def documented() -> list[Any]:
    found = []
    for page in PAGES:
        for number, text, whole in code(page):
            for arguments in calls(text):
                name = f"{page.name}:{number} {' '.join(arguments)}"
                found.append(pytest.param(arguments, whole, id=name))
    return found


@pytest.mark.parametrize(("arguments", "whole"), documented())
def test_what_a_page_tells_people_to_type_is_understood(arguments: list[str], whole: bool) -> None:
    parse(arguments, whole=whole)


def helped() -> list[Any]:
    found = []
    waiting: list[tuple[str, Any]] = [("", COMMANDS)]
    while waiting:
        path, command = waiting.pop()
        waiting += [(f"{path} {name}".strip(), one) for name, one in getattr(command, "commands", {}).items()]
        for line in (command.help or "").splitlines():
            for arguments in calls(re.split(r"\s{3,}", line.strip())[0]):
                found.append(pytest.param(arguments, id=f"{path}: {' '.join(arguments)}"))
    return found


@pytest.mark.parametrize("arguments", helped())
def test_what_the_help_shows_as_an_example_is_understood(arguments: list[str]) -> None:
    parse(arguments, whole=True)


def ml_trained() -> list[Any]:
    """The calls of `ml-train` in the pages and in its own help; what a shell would fill in is a 1."""
    texts = [text for page in PAGES for _, text, whole in code(page) if whole]
    texts += [re.split(r"\s{3,}", line.strip())[0] for line in (ML_TRAIN.help or "").splitlines()]
    lines = [re.sub(r"(^|\s)#.*|^.venv/bin/", "", text) for text in texts]
    return sorted({re.sub(r"\$\w+", "1", line).strip() for line in lines if re.match(r"ml-train( |$)", line)})


@pytest.mark.parametrize("line", ml_trained())
def test_what_the_pages_and_the_help_say_of_ml_train_is_understood(line: str) -> None:
    ML_TRAIN.make_context("ml-train", shlex.split(line)[1:])


def test_pages_and_help_show_ml_train_and_an_option_that_it_lacks_would_be_found() -> None:
    assert len(ml_trained()) > 4
    with pytest.raises(typer.TyperException):
        ML_TRAIN.make_context("ml-train", ["--sead", "1"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if anchor:
            headings = [line for line in linked.read_text("utf-8").splitlines() if line.startswith("#")]
            assert anchor in map(heading_anchor, headings), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_make_targets_and_sessions_that_a_page_names_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([.a-z][\w./-]*):", MAKEFILE, re.MULTILINE))
    sessions = set(re.findall(r"^def ([a-z]\w*)\(session", (CHECKOUT / "noxfile.py").read_text(), re.MULTILINE))
    for number, text, _ in code(page):
        if made := re.match(r"make ([.a-z][\w./-]*)", text):
            assert made[1] in targets, f"{page.name}:{number}"
        if started := re.match(r"(?:\.venv/bin/)?nox -s ([^-#]+)", text):
            for word in shlex.split(started[1]):
                assert word.partition("(")[0].rstrip("0123456789.") in sessions, f"{page.name}:{number}"


def heading_anchor(line: str) -> str:
    """How the common renderers of Markdown call a heading."""
    return re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "line",
    ["harness nothing", "harness run --no-such", "harness image burn", "harness compare A", "harness run --runs x"],
)  # fmt: skip
def test_a_page_that_tells_people_something_else_is_found(line: str) -> None:
    [arguments] = calls(line)
    with pytest.raises((AssertionError, typer.TyperException)):
        parse(arguments, whole=True)


def test_a_line_that_offers_a_choice_is_read_as_each_of_them() -> None:
    assert list(calls("harness lock [--check] · harness image ls|show  # all")) == [
        ["lock", "--check"], ["lock"], ["image", "ls"], ["image", "show"],
    ]  # fmt: skip


def test_a_sentence_may_name_a_command_without_all_it_needs_but_not_an_option_it_lacks() -> None:
    parse(["compare"], whole=False)
    with pytest.raises(AssertionError):
        parse(["compare", "--golden"], whole=False)
