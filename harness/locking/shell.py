"""What a shell script would do on a fresh system: its commands, with what is known of their words; nothing is run.

The parser is tree-sitter's. Over it, a walk goes where the script's own arguments lead (`postinst configure ""`), into
functions with their arguments, and into both branches of what cannot be known. It is built to err on one side: what it
does not understand becomes a command without a name, which nobody who asks knows either.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from harness.locking.truth import Test, Truth, Word, matches
from harness.locking.words import ANY, Words, is_glob

_PARSER = Parser(Language(tree_sitter_bash.language()))
_NAMES = 200
_STATEMENTS = 20_000
_REDIRECTED = ("file_redirect", "heredoc_redirect", "herestring_redirect")
_HEEDED = re.compile(r"PATH|ENV|BASH_ENV|PS4|LD_[A-Z_]+|PYTHONPATH|PYTHONHOME")  # they decide what a name runs
_SPECIAL_BUILTINS = frozenset((
    ":", ".", "source", "eval", "exec", "exit", "export", "readonly", "return", "set", "shift", "times", "trap",
    "unset", "break", "continue", "local", "declare", "typeset", "command", "builtin", "[", "[[", "test", "read",
))  # fmt: skip
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Command(msgspec.Struct, frozen=True):
    """A simple command. `line` counts from 1; `certain` says whether it runs, as far as can be told.

    A redirection into a file is a command of its own, with the words `>` and the file; so is giving a value to a
    variable that decides what names run, with the words `PATH=` and the value.
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
    """The script ends here, or a function, or a time of a loop: what `exit`, `return`, `break` and `continue` do."""

    def __init__(self, ending: str, truth: Truth) -> None:
        self.ending = ending
        self.truth = truth


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


class _Walk(Words):
    def __init__(
        self, run: Run, arguments: Sequence[Word], variables: Mapping[str, Word], outputs: Mapping[str, str]
    ) -> None:
        self._run = run
        super().__init__(arguments, variables)
        self._outputs = outputs
        self._functions: dict[str, tuple[Node, ...]] = {}  # each that a name may stand for
        self._surely: frozenset[str] = frozenset()  # the names that stand for a function on every way to here
        self._assigned: list[str] = []  # each variable that was set, in order; `@` are the arguments
        self._jumps = 0  # how often statements may have been left early
        self._loops = 0  # around the statement, in the same function and shell
        self._locals: list[dict[str, Word]] = []  # what is put back behind each call
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
            if node.type == "comment":
                continue
            if node.next_sibling is not None and node.next_sibling.type == "&":
                truth = Truth.MAYBE
                with self._subshell():
                    self._visit(node)
            else:
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
            self._body(node.named_children)
        return Truth.MAYBE  # an error ends it alone

    @contextmanager
    def _subshell(self) -> Iterator[None]:
        """Statements that can neither set the script's variables and functions nor end it."""
        variables, arguments, over = dict(self._variables), list(self._arguments), self._over
        functions, surely, assigned = dict(self._functions), self._surely, len(self._assigned)
        loops, self._loops = self._loops, 0
        try:
            yield
        except _EndError:
            pass
        finally:
            self._variables, self._arguments, self._over = variables, arguments, over
            self._functions, self._surely, self._loops = functions, surely, loops
            del self._assigned[assigned:]

    def _printed(self, node: Node) -> Word:
        command = (node.text or b"").decode().strip("$()`").strip()
        if command in self._outputs and not self._functions:
            return self._outputs[command]
        with self._subshell():
            self._visit(node)
        return None

    def _visit_command_substitution(self, node: Node) -> Truth:
        # Whatever it prints, it runs. Between backquotes a backslash hides what is read once more.
        if (node.text or b"").startswith(b"`") and re.search(rb"\\[`$\"\\]", node.text or b""):
            return self._unknown(node)
        if any(child.type in _REDIRECTED for child in node.named_children):
            for child in node.named_children:
                self._redirect(child) if child.type in _REDIRECTED else self._unknown(child)
            return Truth.MAYBE
        return self._visit_subshell(node)

    def _visit_function_definition(self, node: Node) -> Truth:
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        if name is None or body is None:
            return self._unknown(node)
        called = (name.text or b"").decode()
        if called in _SPECIAL_BUILTINS or node.children[0].type == "function":  # which shells take in their own ways
            return self._unknown(node)
        others = tuple(other for other in self._functions.get(called, ()) if other != node)
        self._functions[called] = (*others, node)
        self._surely |= {called}
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
            whole = not any(pattern.next_sibling in patterns for pattern in patterns)  # `a"*"` comes as two
            known = [self._pattern(pattern) for pattern in patterns]
            truth = max(matches(value, pattern if whole else None) for pattern in known)
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
        known = values and None not in values and len(values) <= _NAMES and node.children[0].type == "for"
        if known and not any(is_glob(word) for word in values if word):
            jumps, assigned, surely = self._jumps, len(self._assigned), self._surely
            for value in values:
                before, start = self._jumps, len(self._assigned)
                self._assign(name, value, node)
                last = self._time(lambda: self._visit(body))
                if self._jumps != before:
                    self._doubt(self._assigned[start:])
                if last:
                    break
            if self._jumps != jumps:
                self._doubt(self._assigned[assigned:])
                self._surely = surely
            return Truth.MAYBE
        self._repeat([body], lambda: self._assign(name, None, node))
        return Truth.MAYBE

    def _visit_while_statement(self, node: Node) -> Truth:
        self._repeat([child for child in node.named_children if child.type not in _REDIRECTED])
        return Truth.MAYBE

    def _repeat(self, nodes: Sequence[Node], first: Callable[[], None] = lambda: None) -> None:
        """Statements that run any number of times: visited until another time changes nothing."""
        while True:
            jumps, assigned = self._jumps, len(self._assigned)
            before = (dict(self._variables), list(self._arguments), dict(self._functions))
            with self._branch(Truth.MAYBE):
                first()
                self._time(lambda: self._body(nodes))
            if self._jumps != jumps:
                self._doubt(self._assigned[assigned:])
            if before == (self._variables, self._arguments, self._functions):
                return

    def _time(self, visit: Callable[[], object]) -> bool:
        """Once through a loop; whether it surely was the last time."""
        self._loops += 1
        try:
            visit()
        except _EndError as end:
            if end.ending not in ("break", "continue"):
                raise
            self._jumps += 1
            return end.ending == "break"
        finally:
            self._loops -= 1
        return False

    def _visit_redirected_statement(self, node: Node) -> Truth:
        redirects = [child for child in node.named_children if child.type in _REDIRECTED]
        # The grammar takes words behind a redirection's file for files: they are the command's.
        more = [word for redirect in redirects for word in self._redirect(redirect)]
        truth = Truth.YES
        if any(child.type.startswith("&>") for redirect in redirects for child in redirect.children):
            with self._subshell():  # to dash it is a `&` and a redirection
                for child in node.named_children:
                    if child.type not in _REDIRECTED:
                        self._visit(child)
            return Truth.MAYBE if not more else self._unknown(node)
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
            more: list[Word] = []
            quoted = any(child.type == "heredoc_start" and _is_quoted(child) for child in node.named_children)
            for child in node.named_children:
                if child.type in _REDIRECTED:
                    more += self._redirect(child)
                elif child.type == "heredoc_body":
                    self._word(child) if not quoted else None
                elif child.type not in ("heredoc_start", "heredoc_end", "file_descriptor"):
                    with self._branch(Truth.MAYBE):
                        if hasattr(self, f"_visit_{child.type}") and child.type != "command_substitution":
                            self._visit(child)
                        else:
                            more += self._words(child)
            return more
        destinations = node.children_by_field_name("destination")
        target = self._word(destinations[0]) if destinations else None
        operator = next((child.type for child in node.children if not child.is_named), "")
        if operator.startswith((">", "&>")) or operator == "<>":
            target = f"&{target}" if operator == ">&" and target is not None else target
            self._run(self._made(node, (">", target), (node.text or b"").decode()))
        return [word for child in destinations[1:] for word in self._words(child)]

    def _visit_variable_assignment(self, node: Node, *, splits: bool = False) -> Truth:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        words = [""] if value is None else self._words(value) if splits else [self._word(value)]
        if name is None or name.type != "variable_name":
            return self._unknown(node)
        known = len(words) == 1 and any(child.type == "=" for child in node.children)
        self._assign((name.text or b"").decode(), words[0] if known else ("" if not words else None), node)
        return Truth.MAYBE if value is not None and None in words else Truth.YES

    def _assign(self, name: Word, value: Word, node: Node) -> None:
        """Give a variable its value."""
        if name is None or not _IDENTIFIER.fullmatch(name):
            self._unknown(node)
            return
        if _HEEDED.fullmatch(name):
            self._run(self._made(node, (f"{name}=", value), _line(node)))
        self._variables[name] = value
        self._assigned.append(name)

    def _set_arguments(self, words: Iterable[Word]) -> None:
        self._arguments = list(words)
        self._assigned.append("@")

    def _doubt(self, names: Iterable[str]) -> None:
        """Make unknown what was set where the statements that set it may have been left early."""
        for name in names:
            if name == "@":
                self._arguments = list(ANY)
            else:
                self._variables[name] = None

    def _visit_variable_assignments(self, node: Node) -> Truth:
        return self._body(node.named_children)

    def _visit_declaration_command(self, node: Node) -> Truth:
        local = node.children[0].type == "local"
        if local and not self._locals:
            return self._unknown(node)  # outside of a function shells fail, each in its own way
        for child in node.named_children:
            name = child.child_by_field_name("name") if child.type == "variable_assignment" else child
            text = ((name.text if name is not None else None) or b"").decode()
            if local and self._locals and _IDENTIFIER.fullmatch(text):
                self._locals[-1].setdefault(text, self._variables.get(text))
            if child.type == "variable_assignment":
                self._visit_variable_assignment(child, splits=True)
            elif text in ("-x", "-r", "-p") and node.children[0].type != "declare":
                continue
            elif not _IDENTIFIER.fullmatch(text):
                self._words(child)
                self._unknown(node)
            elif local:
                self._assign(text, None, node)
        return Truth.MAYBE

    def _visit_unset_command(self, node: Node) -> Truth:
        for child in node.named_children:
            if child.type == "variable_name":
                self._assign((child.text or b"").decode(), "", node)
            elif child.text != b"-v":
                self._words(child)
                return self._unknown(node)
        return Truth.MAYBE

    def _visit_test_command(self, node: Node) -> Truth:
        words = list(self._test_words(node))
        if words[0] != "[":  # `[[`, which is a command like another to dash
            return self._run(self._made(node, words[:1], _line(node)))
        return Test(words[1:-1]).truth()

    def _test_words(self, node: Node) -> Iterator[Word]:
        for child in node.children:
            if child.type.endswith("_expression"):
                yield from self._test_words(child)
            elif child.is_named and child.type != "test_operator":
                yield from self._words(child)
            elif re.search("[<>&|;()]", text := (child.text or b"").decode()) and not _is_double(node):
                self._unknown(node)  # it is the shell's, not the test's
                yield None
            else:
                yield text

    # Commands

    def _visit_command(self, node: Node) -> Truth:
        return self._command(node, [])

    def _command(self, node: Node, more: Sequence[Word]) -> Truth:
        words: list[Word] = []
        before, given = dict(self._variables), set[str]()
        for child in node.children:
            if child.type == "variable_assignment":
                self._visit_variable_assignment(child)
                given.add((((name := child.child_by_field_name("name")) and name.text) or b"").decode())
            elif child.type in _REDIRECTED:
                more = [*more, *self._redirect(child)]
            elif child.type == "command_name":
                words += [word for part in child.named_children for word in self._words(part)]
            elif child.is_named:
                words += self._words(child)
            else:
                words.append((child.text or b"").decode())
        words += more
        text = " ".join((node.text or b"").decode().replace("\\\n", " ").split())
        truth = self._call(self._made(node, words, text), node)
        if not words or words[0] in _SPECIAL_BUILTINS or words[0] in self._functions:
            self._doubt(given if words else ())  # shells differ in what they keep
        else:
            self._variables.update({variable: before.get(variable) for variable in given})
        return truth

    def _call(self, command: Command, node: Node) -> Truth:
        name = command.words[0] if command.words else None
        if name is None or name not in self._functions:
            return self._builtin(command, node)
        truth = self._function(command, self._functions[name], surely=name in self._surely)
        if name in self._surely:
            return truth
        with self._branch(Truth.MAYBE):
            self._builtin(command, node)
        return Truth.MAYBE

    def _builtin(self, command: Command, node: Node) -> Truth:
        words = command.words
        match words[0] if words else "":
            case "exit" | "return" as ending if ending == "exit" or self._calls:
                self._run(command)
                status = words[1] if len(words) > 1 else None
                truth = Truth.MAYBE if status is None else Truth.YES if status == "0" else Truth.NO
                raise _EndError(ending, truth)
            case "break" | "continue" as ending:
                if not self._loops:
                    return self._unknown(node)  # shells differ in what they leave then
                raise _EndError(ending, Truth.YES)
            case "set":
                self._set(words[1:])
                return Truth.YES
            case "shift":
                self._set_arguments(self._arguments[1:] if len(words) == 1 else ANY)
                return Truth.MAYBE  # it fails where there are none
            case "read":
                for variable in words[1:]:
                    if variable is None or not variable.startswith("-"):
                        self._assign(variable, None, node)
                return Truth.MAYBE
            case "test":
                return Test(words[1:]).truth()
            case "command" if len(words) > 1 and not (words[1] or "-").startswith("-"):
                return self._builtin(msgspec.structs.replace(command, words=words[1:]), node)
        return self._run(command)

    def _set(self, words: Sequence[Word]) -> None:
        """What `set` does to the arguments: options leave them."""
        rest = list(words)
        while rest and rest[0] is not None and rest[0][:1] in ("-", "+"):
            option = rest.pop(0)
            if option in ("-", "--"):
                if rest or option == "--":
                    self._set_arguments(rest)
                return
            if option is not None and option.endswith("o") and rest:
                rest.pop(0)
        if rest:
            self._set_arguments(ANY if rest[0] is None else rest)

    def _function(self, command: Command, definitions: Sequence[Node], *, surely: bool) -> Truth:
        name = str(command.words[0])
        if self._calls.count(name) > 1:
            self._forget()  # it was visited already, for whatever arguments and variables
            return Truth.MAYBE
        again = name in self._calls
        arguments, certain = self._arguments, self._certain
        jumps, assigned, sure = self._jumps, len(self._assigned), self._surely
        loops, self._loops = self._loops, 0
        self._calls.append(name)
        self._locals.append({})
        truth = Truth.MAYBE
        only = len(definitions) == 1 and surely and not again
        try:
            for definition in definitions:  # more than one where branches define it each in its own way
                self._arguments = list(ANY) if again else list(command.words[1:])
                with self._branch(Truth.YES if only else Truth.MAYBE):
                    if again:
                        self._forget()
                    truth = self._body_of(definition)
        except _EndError as end:
            if end.ending != "return":
                raise
            truth = end.truth
        finally:
            self._calls.pop()
            self._loops = loops
            if self._jumps != jumps:
                self._doubt(self._assigned[assigned:])
                self._surely = sure
            self._arguments, self._certain = arguments, certain
            self._variables.update(self._locals.pop())
        return truth if only and self._jumps == jumps else Truth.MAYBE

    def _forget(self) -> None:
        self._variables = dict.fromkeys(self._variables)

    def _body_of(self, definition: Node) -> Truth:
        for redirect in definition.children_by_field_name("redirect"):
            if self._redirect(redirect):
                self._unknown(redirect)
        body = definition.child_by_field_name("body")
        return self._visit(body) if body is not None else self._unknown(definition)

    @contextmanager
    def _branch(self, reach: Truth) -> Iterator[None]:
        """Statements that are reached as `reach` says; what they set is unknown afterwards, unless they surely run."""
        if reach is Truth.YES:
            yield
            return
        certain, before, arguments = self._certain, dict(self._variables), list(self._arguments)
        surely = self._surely
        self._certain = certain and reach >= Truth.PRESUMABLY
        try:
            yield
        except _EndError as end:
            # What fails is not how a package is installed; what ends early may leave the rest undone.
            if end.truth is not Truth.NO and reach >= Truth.MAYBE:
                certain = False
                self._over = self._over or end.ending == "exit"
            self._jumps += end.ending != "exit"
        finally:
            self._certain, self._surely = certain, surely
            for name, value in self._variables.items():
                if name not in before or before[name] != value:
                    self._variables[name] = None
            if self._arguments != arguments:
                self._arguments = list(ANY)


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


def _line(node: Node) -> str:
    return (node.text or b"").decode().partition("\n")[0]


def _is_quoted(node: Node) -> bool:
    return re.search(rb"[\\\"']", node.text or b"") is not None


def _is_double(node: Node) -> bool:
    """Whether it is within `[[`, or is that."""
    while node.type != "test_command" and node.parent is not None:
        node = node.parent
    return (node.text or b"").startswith(b"[[")
