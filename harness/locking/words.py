"""The words of a shell script's syntax, as far as a walk over it knows variables and arguments.

What the grammar takes for plain text although a shell would expand it, backquotes in a here-document for one, is looked
for by itself: it must not pass for a word that is known.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from tree_sitter import Node

from harness.locking.truth import Word

ANY: tuple[Word, ...] = (None,) * 9
"""Any number of words."""
_EXPANSIONS = ("simple_expansion", "expansion", "command_substitution", "arithmetic_expansion")


class Words(ABC):
    """The words of nodes; a walk says what becomes of the commands among them."""

    def __init__(self, arguments: Sequence[Word], variables: Mapping[str, Word]) -> None:
        self._arguments = list(arguments)
        self._variables = dict(variables)

    @abstractmethod
    def _unknown(self, node: Node) -> object:
        """Take note of what is not understood."""

    @abstractmethod
    def _printed(self, node: Node) -> Word:
        """Visit a command substitution; what it prints."""

    @abstractmethod
    def _assign(self, name: Word, value: Word, node: Node) -> None:
        """Give a variable its value."""

    def _words(self, node: Node) -> list[Word]:
        """The words of a node: as a rule one; several for `$@`, none for an empty variable without quotes."""
        text = (node.text or b"").decode()
        if text == '"$@"':
            return list(self._arguments)
        if text in ("$@", "$*"):
            return [field for word in self._arguments for field in self._fields(word)]
        word = self._word(node)
        if node.type in _EXPANSIONS:
            return self._fields(word)
        falls_apart = word is None and any(child.type in _EXPANSIONS for child in node.named_children)
        return list(ANY) if (node.type == "concatenation" and falls_apart) or _is_spread(node) else [word]

    def _fields(self, value: Word) -> list[Word]:
        """What becomes of an expansion without quotes."""
        if value is None or is_glob(value) or (value and "IFS" in self._variables):
            return list(ANY)
        return list(value.split())

    def _hides(self, node: Node, text: str) -> bool:
        """Whether the grammar took for text what the shell expands; then it is unknown."""
        plain = re.sub(r"\\.", "", text, flags=re.DOTALL)
        if re.search(r"`|\$\(|[<>]\(", plain):
            self._unknown(node)
        return re.search(r"`|[$<>][({\[]|\$[\w@*#?!-]", plain) is not None

    def _pattern(self, node: Node) -> Word:
        """A pattern of `case` for `fnmatch`: what is quoted stands for itself."""
        text, word = (node.text or b"").decode(), self._word(node)
        match node.type:
            case "string" | "raw_string":
                return re.sub(r"[*?[]", r"[\g<0>]", word) if word is not None else None
            case "concatenation":
                parts = [self._pattern(child) for child in node.named_children]
                whole = sum(len(child.text or b"") for child in node.named_children) == len(node.text or b"")
                plain = [part for part in parts if part is not None]
                if not whole or len(plain) < len(parts) or any(_is_class(child) for child in node.named_children):
                    return None
                return "".join(plain)
            case "simple_expansion" | "expansion":
                return word if word is not None and not set(word) & set("[\\") else None
        if word is None or re.search(r"[\\\"'$`(]|\[\^|\[\[", text):
            return None
        return text

    def _word(self, node: Node) -> Word:
        text = (node.text or b"").decode()
        match node.type:
            case "word" | "number" | "extglob_pattern" | "regex" | "variable_name" | "special_variable_name":
                self._substitutions(node)
                if not node.named_child_count and self._hides(node, text):
                    return None
                if re.match(r"~|.*[:=]~", text) or (node.named_child_count and node.type != "number"):
                    return None
                return _unescaped(text)
            case "raw_string":
                return text[1:-1]
            case "string":
                return self._joined(node, node.start_byte + 1, node.end_byte - 1)
            case "concatenation" | "command_name":
                return self._joined(node, node.start_byte, node.end_byte)
            case "string_content" | "heredoc_content":
                return None if self._hides(node, text) else _unquoted(text)
            case "simple_expansion":
                return self._value(text[1:])
            case "expansion":
                return self._expansion(node)
            case "command_substitution":
                return self._printed(node)
            case "arithmetic_expansion":
                self._substitutions(node)
                self._assigned_in(node)
                return None
            case "heredoc_body":
                return self._joined(node, node.start_byte, node.end_byte)
        self._substitutions(node)
        self._unknown(node)
        return None

    def _joined(self, node: Node, start: int, end: int) -> Word:
        parts: list[Word] = []
        source, position = node.text or b"", start
        for child in node.named_children:
            parts += [self._gap(node, source[position - node.start_byte : child.start_byte - node.start_byte])]
            part = self._word(child)
            apart = node.type == "concatenation" and child.type in _EXPANSIONS and part not in (None, "")
            parts += [None if apart and self._fields(part) != [part] else part]
            position = child.end_byte
        parts += [self._gap(node, source[position - node.start_byte : end - node.start_byte])]
        known = [part for part in parts if part is not None]
        return "".join(known) if len(known) == len(parts) else None

    def _gap(self, node: Node, source: bytes) -> Word:
        return None if self._hides(node, source.decode()) else source.decode()

    def _expansion(self, node: Node) -> Word:
        children = node.named_children
        if not children or children[0].type not in ("variable_name", "special_variable_name"):
            self._substitutions(node)
            self._hides(node, "".join(gap.decode() for gap in _gaps(node))[2:])
            return None
        name = (children[0].text or b"").decode()
        value = self._value(name)
        operators = [child.type for child in node.children if not child.is_named][1:-1]
        rest = [self._word(child) for child in children[1:]]
        # Within `"${…}"` they are no quotes.
        quotes = [(child.text or b"").decode() for child in children if child.type == "raw_string"]
        self._hides(node, "".join([*(gap.decode() for gap in _gaps(node)), *quotes])[2:])
        if not operators and not rest:
            return value
        if any("=" in operator for operator in operators):
            self._assign(name, None, node)
        if operators == [":-"] and value is not None and len(rest) < 2:
            return value or (rest[0] if rest else "")
        return None

    def _assigned_in(self, node: Node) -> None:
        """Make unknown what arithmetic sets: any name in it, where there is a sign of that."""
        if re.search(rb"=|\+\+|--", node.text or b""):
            for name in re.findall(r"(?<![$\w])[A-Za-z_]\w*", (node.text or b"").decode()):
                self._assign(name, None, node)

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
            elif child.type == "expansion" or not child.named_child_count:
                self._word(child)
            else:
                self._substitutions(child)


def _gaps(node: Node) -> Iterator[bytes]:
    """The text of a node between its named children."""
    source, position = node.text or b"", 0
    for child in node.named_children:
        yield source[position : child.start_byte - node.start_byte]
        position = child.end_byte - node.start_byte
    yield source[position:]


def _is_class(node: Node) -> bool:
    """Whether a part of a pattern has a bracket without quotes."""
    return node.type not in ("string", "raw_string") and b"[" in (node.text or b"")


def _is_spread(node: Node) -> bool:
    """Whether a word may be taken for a pattern of files, or in bash for several words."""
    if node.type == "concatenation":
        return any(child.text == b"{" or _is_spread(child) for child in node.named_children)
    plain = re.sub(r"\\.", "", (node.text or b"").decode(), flags=re.DOTALL)
    return node.type in ("word", "extglob_pattern") and re.search(r"[*?]|\[.*\]|\{.*(,|\.\.).*\}", plain) is not None


def is_glob(text: str) -> bool:
    """Whether a shell may take a text without quotes for something else: names of files, several words, a home."""
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
