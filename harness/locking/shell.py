"""What a shell script would do on a fresh system: its commands, with what is known of their words; nothing is run.

The parser is tree-sitter's. Over it, a walk goes where the script's own arguments lead (`postinst configure ""`), into
functions with their arguments, and into both branches of what cannot be known. It is built to err on one side: what it
does not understand becomes a command without a name, which nobody who asks knows either.
"""

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum

import msgspec
import tree_sitter_bash
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_bash.language()))
_NAMES = 200
_STATEMENTS = 20_000
_REDIRECTED = ("file_redirect", "heredoc_redirect", "herestring_redirect")
_PATH_TESTS = tuple(f"-{letter}" for letter in "abcdefghkprsuwxGLNOS")
_NUMBER_TESTS = ("-eq", "-ne", "-lt", "-le", "-gt", "-ge")

Word = str | None
"""A word of a command: its text, or null where only a run of the script could tell."""


class Truth(IntEnum):
    """Whether a command succeeds: Kleene's logic, in which a fresh system presumably lacks what a script looks for."""

    NO = -2
    PRESUMABLY_NOT = -1
    MAYBE = 0
    PRESUMABLY = 1
    YES = 2

    @property
    def opposite(self) -> "Truth":
        """The truth of the negation."""
        return Truth(-self)


class Command(msgspec.Struct, frozen=True):
    """A simple command. `line` counts from 1; `certain` says whether it runs, as far as can be told.

    A redirection into a file is a command of its own, with the words `>` and the file.
    """

    line: int
    words: tuple[Word, ...]
    text: str
    certain: bool

    @property
    def name(self) -> Word:
        """What is called: the last part of the first word."""
        first = self.words[0] if self.words else None
        return first.rpartition("/")[2] if first else None


Run = Callable[[Command], Truth]


class _EndError(Exception):
    """The script, or one of its functions, ends here."""

    def __init__(self, *, function: bool, failed: bool) -> None:
        self.function = function
        self.failed = failed


def walk(
    script: str,
    run: Run,
    *,
    arguments: Sequence[Word] = (),
    variables: Mapping[str, Word] | None = None,
    outputs: Mapping[str, str] | None = None,
) -> None:
    """Call `run` for each command that the script may reach; what it answers decides about branches.

    A variable that neither `variables` nor the script sets is of unknown value, and so is what a command prints that
    is not among `outputs` (`uname -s`).
    """
    root = _PARSER.parse(script.encode()).root_node
    if root.has_error:
        run(Command(_first_error(root), (None,), "what cannot be parsed as shell", certain=True))
        return
    _Walk(run, arguments, variables or {}, outputs or {}).script(root)


def _first_error(node: Node) -> int:
    while broken := next((child for child in node.children if child.has_error or child.is_missing), None):
        node = broken
    return node.start_point[0] + 1


class _Walk:
    def __init__(
        self, run: Run, arguments: Sequence[Word], variables: Mapping[str, Word], outputs: Mapping[str, str]
    ) -> None:
        self._run = run
        self._outputs = outputs
        self._arguments = list(arguments)
        self._variables = dict(variables)
        self._functions: dict[str, list[Node]] = {}
        self._certain = True
        self._over = False  # whether the script may have ended already
        self._calls: list[str] = []
        self._statements = 0

    def script(self, root: Node) -> None:
        try:
            self._body(root.named_children)
        except _EndError:
            pass
        except RecursionError:
            self._unknown(root, "a script that is nested too deeply")

    # Statements

    def _body(self, nodes: Iterable[Node]) -> Truth:
        truth = Truth.YES
        for node in nodes:
            if node.type != "comment":
                truth = self._visit(node)
        return truth

    def _visit(self, node: Node) -> Truth:
        self._statements += 1
        if self._statements > _STATEMENTS:
            raise RecursionError
        visit = getattr(self, f"_visit_{node.type}", None)
        return visit(node) if visit else self._unknown(node)

    def _unknown(self, node: Node, text: str | None = None) -> Truth:
        line = (text or (node.text or b"").decode()).partition("\n")[0]
        return self._run(self._made(node, (None,), line))

    def _made(self, node: Node, words: Iterable[Word], text: str) -> Command:
        return Command(node.start_point[0] + 1, tuple(words), text, self._certain and not self._over)

    def _visit_compound_statement(self, node: Node) -> Truth:
        return self._body(node.named_children)

    _visit_do_group = _visit_else_clause = _visit_compound_statement

    def _visit_subshell(self, node: Node) -> Truth:
        with self._subshell():
            return self._body(node.named_children)
        return Truth.MAYBE

    @contextmanager
    def _subshell(self) -> Iterator[None]:
        """Statements that can neither set the script's variables nor end it."""
        variables, arguments, over = dict(self._variables), list(self._arguments), self._over
        try:
            yield
        except _EndError:
            pass
        finally:
            self._variables, self._arguments, self._over = variables, arguments, over

    def _visit_command_substitution(self, node: Node) -> Truth:
        # Whatever it prints, it runs.
        if any(child.type in _REDIRECTED for child in node.named_children):
            for child in node.named_children:
                self._redirect(child)
            return Truth.MAYBE
        return self._visit_subshell(node)

    def _visit_function_definition(self, node: Node) -> Truth:
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        if name is None or body is None:
            return self._unknown(node)
        self._functions.setdefault((name.text or b"").decode(), []).append(body)
        return Truth.YES

    def _visit_negated_command(self, node: Node) -> Truth:
        return self._body(node.named_children).opposite

    def _visit_list(self, node: Node) -> Truth:
        left, right = node.named_children[0], node.named_children[-1]
        both = any(child.type == "&&" for child in node.children)
        truth = self._visit(left)
        reach = truth if both else truth.opposite
        if reach is Truth.NO:
            return truth
        with self._branch(reach):
            other = self._visit(right)
            return min(truth, other) if both else max(truth, other)
        return truth

    def _visit_pipeline(self, node: Node) -> Truth:
        for child in node.named_children:
            with self._subshell():
                self._visit(child)
        return Truth.MAYBE

    def _visit_if_statement(self, node: Node) -> Truth:
        reach = Truth.YES
        for condition, body in _clauses(node):
            truth = Truth.YES
            if condition:
                with self._branch(reach):
                    truth = self._body(condition)
            here = min(reach, truth)
            if here is not Truth.NO:
                with self._branch(here):
                    self._body(body)
            reach = min(reach, truth.opposite)
            if reach is Truth.NO:
                break
        return Truth.MAYBE

    def _visit_case_statement(self, node: Node) -> Truth:
        value = self._word(next(child for child in node.named_children if child.type != "comment"))
        reach = Truth.YES
        for item in (child for child in node.named_children if child.type == "case_item"):
            patterns = item.children_by_field_name("value")
            body = [child for child in item.named_children if child not in patterns]
            truth = max(_matches(value, self._word(pattern)) for pattern in patterns)
            here = min(reach, truth)
            if here is not Truth.NO:
                with self._branch(here):
                    self._body(body)
            reach = min(reach, truth.opposite)
            if item.children[-1].type in (";&", ";;&"):
                self._unknown(item)
            if reach is Truth.NO:
                break
        return Truth.MAYBE

    def _visit_for_statement(self, node: Node) -> Truth:
        variable, body = node.child_by_field_name("variable"), node.child_by_field_name("body")
        if variable is None or body is None:
            return self._unknown(node)
        name = (variable.text or b"").decode()
        values = [word for child in node.children_by_field_name("value") for word in self._words(child)]
        unknown = not values or None in values or len(values) > _NAMES or any(_is_glob(word) for word in values if word)
        if unknown:
            self._forget(body)
            self._variables[name] = None
            with self._branch(Truth.MAYBE):
                self._visit(body)
            self._forget(body)
            return Truth.MAYBE
        for value in values:
            self._variables[name] = value
            self._visit(body)
        return Truth.MAYBE

    def _visit_while_statement(self, node: Node) -> Truth:
        self._forget(node)
        with self._branch(Truth.MAYBE):
            self._body(child for child in node.named_children if child.type not in _REDIRECTED)
        self._forget(node)
        return Truth.MAYBE

    def _visit_redirected_statement(self, node: Node) -> Truth:
        redirects = [child for child in node.named_children if child.type in _REDIRECTED]
        # The grammar takes words behind a redirection's file for files: they are the command's.
        more = [word for redirect in redirects for word in self._redirect(redirect)]
        truth = Truth.YES
        for child in node.named_children:
            if child.type == "command":
                truth = self._command(child, more)
            elif child.type not in _REDIRECTED:
                truth = self._visit(child)
                if more:
                    self._unknown(node)
        return truth

    def _redirect(self, node: Node) -> list[Word]:
        if node.type != "file_redirect":
            for child in node.named_children:
                if child.type in _REDIRECTED:
                    self._redirect(child)
                elif child.type == "heredoc_body":
                    self._substitutions(child)
                elif child.type not in ("heredoc_start", "heredoc_end", "file_descriptor"):
                    with self._branch(Truth.MAYBE):
                        self._visit(child) if hasattr(self, f"_visit_{child.type}") else self._word(child)
            return []
        words = [word for child in node.children_by_field_name("destination") for word in self._words(child)]
        operator = next((child.type for child in node.children if not child.is_named), "")
        if operator.startswith((">", "&>")) or operator == "<>":
            text = (node.text or b"").decode()
            target = words[0] if words else None
            target = f"&{target}" if operator == ">&" and target is not None else target
            self._run(self._made(node, (">", target), text))
        return words[1:]

    def _visit_variable_assignment(self, node: Node) -> Truth:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        words = self._words(value) if value is not None else [""]
        if name is None or name.type != "variable_name":
            return self._unknown(node)
        known = len(words) == 1 and any(child.type == "=" for child in node.children)
        self._variables[(name.text or b"").decode()] = words[0] if known else ("" if not words else None)
        return Truth.MAYBE if value is not None and value.type == "command_substitution" else Truth.YES

    def _visit_variable_assignments(self, node: Node) -> Truth:
        return self._body(node.named_children)

    def _visit_declaration_command(self, node: Node) -> Truth:
        for child in node.named_children:
            if child.type == "variable_assignment":
                self._visit(child)
            elif child.type not in ("variable_name", "word"):
                self._words(child)
        return Truth.YES

    def _visit_unset_command(self, node: Node) -> Truth:
        for child in node.named_children:
            if child.type == "variable_name":
                self._variables[(child.text or b"").decode()] = ""
        return Truth.YES

    def _visit_test_command(self, node: Node) -> Truth:
        words = list(self._test_words(node))[1:-1]
        return _Test(words).truth() if node.children[0].type == "[" else Truth.MAYBE

    def _test_words(self, node: Node) -> Iterator[Word]:
        for child in node.children:
            if child.type.endswith("_expression"):
                yield from self._test_words(child)
            elif child.is_named and child.type != "test_operator":
                yield from self._words(child)
            else:
                yield (child.text or b"").decode()

    # Commands

    def _visit_command(self, node: Node) -> Truth:
        return self._command(node, [])

    def _command(self, node: Node, more: Sequence[Word]) -> Truth:
        words: list[Word] = []
        for child in node.named_children:
            if child.type == "variable_assignment":
                value = child.child_by_field_name("value")
                if value is not None:
                    self._words(value)
            elif child.type in _REDIRECTED:
                more = [*more, *self._redirect(child)]
            elif child.type == "command_name":
                words += [word for part in child.named_children for word in self._words(part)]
            else:
                words += self._words(child)
        words += more
        text = " ".join((node.text or b"").decode().replace("\\\n", " ").split())
        return self._call(self._made(node, words, text))

    def _call(self, command: Command) -> Truth:
        words = command.words
        match words[0] if words else "":
            case str(name) if name in self._functions:
                return self._function(command, self._functions[name])
            case "exit" | "return" as ending:
                self._run(command)
                failed = len(words) > 1 and words[1] != "0"
                raise _EndError(function=ending == "return", failed=failed)
            case "set" if "--" in words:
                self._arguments = list(words[words.index("--") + 1 :])
                return Truth.YES
            case "shift":
                self._arguments = self._arguments[1:] if len(words) == 1 else [None] * 9
                return Truth.YES
            case "read":
                for variable in words[1:]:
                    if variable is not None:
                        self._variables[variable] = None
                return Truth.MAYBE
            case "test":
                return _Test(list(words[1:])).truth()
            case "command" if len(words) > 1 and not (words[1] or "-").startswith("-"):
                return self._run(Command(command.line, words[1:], command.text, command.certain))
        return self._run(command)

    def _function(self, command: Command, bodies: Sequence[Node]) -> Truth:
        name = str(command.words[0])
        if self._calls.count(name) > 1:
            return Truth.MAYBE  # it was visited already for whatever arguments
        again = name in self._calls
        arguments, certain = self._arguments, self._certain
        self._calls.append(name)
        truth = Truth.MAYBE
        try:
            for body in bodies:  # more than one where branches define it each in its own way
                self._arguments = [None] * 9 if again else list(command.words[1:])
                with self._branch(Truth.YES if len(bodies) == 1 and not again else Truth.MAYBE):
                    truth = self._visit(body)
        except _EndError as end:
            if not end.function:
                raise
            truth = Truth.NO if end.failed else Truth.YES
        finally:
            self._calls.pop()
            self._arguments, self._certain = arguments, certain
        return truth if len(bodies) == 1 else Truth.MAYBE

    @contextmanager
    def _branch(self, reach: Truth) -> Iterator[None]:
        """Statements that are reached as `reach` says; what they set is unknown afterwards, unless they surely run."""
        if reach is Truth.YES:
            yield
            return
        certain, before, arguments = self._certain, dict(self._variables), list(self._arguments)
        self._certain = certain and reach >= Truth.PRESUMABLY
        try:
            yield
        except _EndError as end:
            # What fails is not how a package is installed; what ends early may leave the rest undone.
            if not end.failed and reach >= Truth.MAYBE:
                certain = False
                self._over = self._over or not end.function
        finally:
            self._certain = certain
            for name, value in self._variables.items():
                if name not in before or before[name] != value:
                    self._variables[name] = None
            if self._arguments != arguments:
                self._arguments = [None] * 9

    def _forget(self, node: Node) -> None:
        """Make unknown what a loop's statements set, because they run any number of times."""
        for child in _descendants(node):
            if child.type == "variable_name" and child.parent is not None:
                if child.parent.type in ("variable_assignment", "for_statement", "declaration_command"):
                    self._variables[(child.text or b"").decode()] = None
            elif child.type == "command" and (child.text or b"").startswith(b"shift"):
                self._arguments = [None] * 9

    # Words

    def _words(self, node: Node) -> list[Word]:
        """The words of a node: as a rule one; several for `$@`, none for an empty variable without quotes."""
        text = (node.text or b"").decode()
        if text in ('"$@"', "$@", "$*"):
            return list(self._arguments)
        word = self._word(node)
        return [] if word == "" and node.type in ("simple_expansion", "expansion") else [word]

    def _word(self, node: Node) -> Word:
        text = (node.text or b"").decode()
        match node.type:
            case "word" | "number" | "extglob_pattern" | "regex" | "variable_name" | "special_variable_name":
                self._substitutions(node)
                return None if node.named_child_count and node.type != "number" else _unescaped(text)
            case "raw_string":
                return text[1:-1]
            case "string":
                return self._joined(node, node.start_byte + 1, node.end_byte - 1)
            case "concatenation" | "command_name":
                return self._joined(node, node.start_byte, node.end_byte)
            case "string_content":
                return _unquoted(text)
            case "simple_expansion":
                return self._value(text[1:])
            case "expansion":
                return self._expansion(node)
            case "command_substitution":
                if (said := self._outputs.get(text.strip("$()`").strip())) is not None:
                    return said
                with self._subshell():
                    self._visit(node)
                return None
            case "arithmetic_expansion" | "heredoc_body":
                self._substitutions(node)
                return None
        self._substitutions(node)
        self._unknown(node)
        return None

    def _joined(self, node: Node, start: int, end: int) -> Word:
        parts: list[Word] = []
        source, position = node.text or b"", start
        for child in node.named_children:
            parts += [source[position - node.start_byte : child.start_byte - node.start_byte].decode()]
            parts += [self._word(child)]
            position = child.end_byte
        parts += [source[position - node.start_byte : end - node.start_byte].decode()]
        known = [part for part in parts if part is not None]
        return "".join(known) if len(known) == len(parts) else None

    def _expansion(self, node: Node) -> Word:
        children = node.named_children
        if not children or children[0].type not in ("variable_name", "special_variable_name"):
            self._substitutions(node)
            return None
        value = self._value((children[0].text or b"").decode())
        operators = [child.type for child in node.children if not child.is_named][1:-1]
        rest = [self._word(child) for child in children[1:]]
        if not operators and not rest:
            return value
        if operators == [":-"] and value is not None:
            return value or (rest[0] if rest else "")
        return None

    def _value(self, name: str) -> Word:
        if name.isdecimal():
            place = int(name)
            if place == 0:
                return None
            return self._arguments[place - 1] if place <= len(self._arguments) else ""
        if name == "#":
            return None if None in self._arguments else str(len(self._arguments))
        return self._variables.get(name)

    def _substitutions(self, node: Node) -> None:
        """Visit the commands inside of a word."""
        for child in node.named_children:
            if child.type == "command_substitution":
                self._word(child)
            elif child.type == "process_substitution":
                self._unknown(child)
            else:
                self._substitutions(child)


class _Test:
    """The words of `[ … ]` as a truth. Grammar: POSIX, with `-a` and `-o`."""

    def __init__(self, words: Sequence[Word]) -> None:
        self._words = list(words)
        self._place = 0

    def truth(self) -> Truth:
        if not self._words:
            return Truth.NO
        truth = self._or()
        return truth if self._place == len(self._words) else Truth.MAYBE

    def _peek(self, ahead: int = 0) -> Word:
        place = self._place + ahead
        return self._words[place] if place < len(self._words) else ""

    def _or(self) -> Truth:
        truth = self._and()
        while self._peek() == "-o":
            self._place += 1
            truth = max(truth, self._and())
        return truth

    def _and(self) -> Truth:
        truth = self._not()
        while self._peek() == "-a":
            self._place += 1
            truth = min(truth, self._not())
        return truth

    def _not(self) -> Truth:
        if self._peek() == "!":
            self._place += 1
            return self._not().opposite
        if self._peek() == "(":
            self._place += 1
            truth = self._or()
            self._place += 1
            return truth
        return self._primary()

    def _primary(self) -> Truth:
        first, second, third = (self._peek(ahead) for ahead in range(3))
        left = len(self._words) - self._place
        if left >= 3 and second in ("=", "==", "!=", *_NUMBER_TESTS, "-nt", "-ot", "-ef"):
            self._place += 3
            return _compared(first, str(second), third)
        if left >= 2 and first in ("-n", "-z"):
            self._place += 2
            empty = Truth.MAYBE if second is None else Truth.NO if second else Truth.YES
            return empty if first == "-z" else empty.opposite
        if left >= 2 and first in _PATH_TESTS:
            self._place += 2
            return Truth.MAYBE if second is None else Truth.PRESUMABLY_NOT if second else Truth.NO
        self._place += 1
        return Truth.MAYBE if first is None else Truth.YES if first else Truth.NO


def _compared(one: Word, operator: str, other: Word) -> Truth:
    if one is None or other is None:
        return Truth.MAYBE
    if operator in ("=", "=="):
        return Truth.YES if one == other else Truth.NO
    if operator == "!=":
        return Truth.NO if one == other else Truth.YES
    return Truth.MAYBE


def _matches(value: Word, pattern: Word) -> Truth:
    if pattern == "*":
        return Truth.YES
    if value is None or pattern is None:
        return Truth.MAYBE
    return Truth.YES if fnmatch.fnmatchcase(value, pattern) else Truth.NO


def _clauses(node: Node) -> Iterator[tuple[list[Node], list[Node]]]:
    """The branches of an `if`: condition (none for `else`) and body."""
    condition: list[Node] = []
    body: list[Node] = []
    current = condition
    clauses = []
    for child in node.children:
        if child.type == "then":
            current = body
        elif child.type == "elif_clause":
            clauses += list(_clauses(child))
        elif child.type == "else_clause":
            clauses.append(([], child.named_children))
        elif child.is_named:
            current.append(child)
    yield condition, body
    yield from clauses


def _descendants(node: Node) -> Iterator[Node]:
    for child in node.named_children:
        yield child
        yield from _descendants(child)


def _is_glob(text: str) -> bool:
    return any(letter in text for letter in "*?[~{")


def _unescaped(text: str) -> str:
    out, letters = [], iter(text)
    for letter in letters:
        taken = next(letters, "") if letter == "\\" else letter
        out.append("" if taken == "\n" else taken)
    return "".join(out)


def _unquoted(text: str) -> str:
    out, letters = [], iter(text)
    for letter in letters:
        if letter != "\\":
            out.append(letter)
            continue
        taken = next(letters, "")
        out.append("" if taken == "\n" else taken if taken in '$`"\\' else letter + taken)
    return "".join(out)
