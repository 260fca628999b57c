"""Strict YAML documents: what a user wrote becomes a typed value, or an error that names the file, line and key.

Scalars follow YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema), not PyYAML's older rules: `NO`
and `ON` are text (both are tickers), `1e3` is a number, and a date stays the text that was written. Only mappings,
lists and those scalars exist: other tags, merge keys, duplicate keys and keys that are not text are refused.
"""

import difflib
import math
import re
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec
import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from harness.errors import UsageError

MAX_BYTES = 1 << 20
MAX_VALUES = 50_000
MAX_DEPTH = 40

T = TypeVar("T")
KeyPath = tuple[str | int, ...]

_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_TEXT = "tag:yaml.org,2002:str"
_COLLECTIONS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_CORE_SCHEMA = (
    (_NULL, r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    (_BOOL, r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    (_INT, r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z", list("-+0123456789")),
    (_FLOAT, r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z", list("-+.0123456789")),
    (_FLOAT, r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z", list("-+.")),
)


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML up to the node tree, with the core schema's scalars and a limit on nesting."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self.depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} deep", problem_mark=self.get_mark())
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _pattern, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)


def load_document(path: Path, kind: type[T]) -> T:
    """The YAML file `path` as a value of type `kind` (a msgspec struct as a rule).

    Raises:
        UsageError: the file is missing, unreadable, too large, not UTF-8 or not YAML, or a key in it is unknown,
            missing, given twice or mistyped. The message names the file, the line and the key path.
    """
    return convert_document(*read_document(path), kind)


def parse_document(text: str, kind: type[T], where: str) -> T:
    """As `load_document`, from text; `where` is what errors call it.

    Raises:
        UsageError: as for `load_document`.
    """
    return convert_document(*_parse(text, where), kind)


def read_document(path: Path) -> tuple[dict[str, Any], "Origin"]:
    """The mapping in the YAML file `path`, not yet checked against a type, and where its keys stand.

    Raises:
        UsageError: as for `load_document`, as far as it doesn't need the type.
    """
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is not a file", hint="Give the YAML file itself.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES} bytes", hint="A document of settings is a few kilobytes.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: not UTF-8 text", hint="Save the file as UTF-8.") from error
    return _parse(text, str(path))


class Origin:
    """What a document is called in errors, and the line on which each key path of it begins."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lines: dict[KeyPath, int] = {}

    def error(self, path: KeyPath, problem: str, hint: str | None = None) -> UsageError:
        """The error that `problem` is at `path`: `FILE, line N: KEY.PATH: PROBLEM`."""
        line = self.lines.get(path)
        place = self.where if line is None else f"{self.where}, line {line}"
        subject = f"{key_path(path)} " if path else ""
        return UsageError(f"{place}: {subject}{problem}", hint=hint)


def key_path(path: KeyPath) -> str:
    """A key path as a user would write it: `families.lightgbm.num_leaves`, `symbols[2]`."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += ("." if text else "") + (key if re.fullmatch(r"[\w-]+", key) else repr(key))
    return text


def suggestion(word: str, known: Iterable[str]) -> str:
    """A hint for a word that isn't among the `known` ones: what was probably meant, and what there is."""
    names = list(known)
    folded = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    meant = f"Did you mean {folded[near[0]]}? " if near else ""
    shown = ", ".join(names[:40]) + (", …" if len(names) > 40 else "")
    return f"{meant}There is: {shown}." if names else "There is none."


def convert_document(document: Any, origin: Origin, kind: type[T]) -> T:
    """A plain value as one of type `kind`.

    Raises:
        UsageError: a key is unknown, missing or mistyped.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise _explain(document, kind, (), origin) or origin.error((), str(error)) from error


def _parse(text: str, where: str) -> tuple[dict[str, Any], Origin]:
    origin = Origin(where)
    if len(text) > MAX_BYTES:
        raise UsageError(f"{where} is larger than {MAX_BYTES} bytes")
    try:
        root = _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = f"U+{error.character:04X}" if isinstance(error.character, int) else repr(error.character)
        raise UsageError(f"{where}, line {line}: the character {character} is not allowed in YAML") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}, line {mark.line + 1}" if mark else where
        raise UsageError(f"{place}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: not valid YAML: {error}") from error
    if root is None:
        raise UsageError(f"{where} is empty", hint="It must hold a mapping: `key: value` lines.")
    if not isinstance(root, MappingNode):
        raise UsageError(f"{where} holds {_what(root)} where a mapping is expected", hint="Write `key: value` lines.")
    document = _Values(origin).value(root, ())
    assert isinstance(document, dict)  # noqa: S101 - a mapping node becomes a dictionary
    return document, origin


class _Values:
    """Turns a node tree into plain values, noting the line of each key path."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.open: set[int] = set()

    def value(self, node: Node, path: KeyPath) -> Any:
        self.origin.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self.open:
            raise self.origin.error(path, "is an alias of what it stands in", "Write the value out.")
        if len(self.origin.lines) > MAX_VALUES:
            raise self.origin.error((), f"holds more than {MAX_VALUES} values", "Aliases may repeat too much in it.")
        self.open.add(id(node))
        try:
            if isinstance(node, ScalarNode):
                return self.scalar(node, path)
            if node.tag not in _COLLECTIONS or not isinstance(node, SequenceNode | MappingNode):
                raise self.origin.error(path, f"has the tag {node.tag}, which is not supported", "Leave the tag out.")
            if isinstance(node, SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            return self.mapping(node, path)
        finally:
            self.open.discard(id(node))

    def mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self.scalar(key_node, path) if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str):
                self.origin.lines[path] = line
                written = key_node.value if isinstance(key_node, ScalarNode) else _what(key_node)
                raise self.origin.error(path, f"has the key {written!r}, which is not text", "Put it in quotes.")
            below = (*path, key)
            if key in found:
                first = self.origin.lines[below]
                self.origin.lines[below] = line
                raise self.origin.error(below, f"is given twice, first in line {first}", "Keep one of the two.")
            if key == "<<" and key_node.style is None:  # in quotes it is a key like any other
                raise self.origin.error(path, "uses a merge key (<<), which is not supported", "Write the keys out.")
            self.origin.lines[below] = line
            found[key] = self.value(value_node, below)
        return found

    def scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        text = node.value
        try:
            match node.tag:
                case tag if tag == _TEXT:
                    return text
                case tag if tag == _NULL:
                    return None
                case tag if tag == _BOOL:
                    return {"true": True, "false": False}[text.lower()]
                case tag if tag == _INT:
                    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
                case tag if tag == _FLOAT:
                    return _float(text)
        except (ValueError, KeyError) as error:
            self.origin.lines[path] = node.start_mark.line + 1
            raise self.origin.error(path, f"is not a number that can be read: {text[:40]}") from error
        raise self.origin.error(path, f"has the tag {node.tag}, which is not supported", "Leave the tag out.")


def _float(text: str) -> float:
    special = text.lower().replace(".inf", "inf").replace(".nan", "nan")
    number = float(special if special[-1:] in "fn" else text)
    if math.isinf(number) and "inf" not in special:
        raise ValueError("too large for a float")
    return number


def _what(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value!r}"[:60]
        case str():
            return f"the text {value[:60]!r}"
        case list() | tuple() | SequenceNode():
            return "a list"
        case dict() | MappingNode():
            return "a mapping"
        case ScalarNode():
            return "a single value"
    return type(value).__name__


def _explain(value: Any, kind: Any, path: KeyPath, origin: Origin) -> UsageError | None:
    """Why `value` is no `kind`: its first problem, named by its own key path; None if it is one."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        for item, item_kind, item_path in _children(value, kind, path):
            if problem := _explain(item, item_kind, item_path, origin):
                return problem
        return _keys(value, kind, path, origin) or _mistyped(value, kind, path, origin, str(error))
    return None


def _children(value: Any, kind: Any, path: KeyPath) -> Iterable[tuple[Any, Any, KeyPath]]:
    if get_origin(kind) in (Union, UnionType):
        rest = [choice for choice in get_args(kind) if choice is not type(None)]
        kind = rest[0] if len(rest) == 1 else kind
    arguments = get_args(kind)
    if isinstance(value, dict) and _is_struct(kind):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        yield from ((item, fields[key], (*path, key)) for key, item in value.items() if key in fields)
    elif isinstance(value, dict) and get_origin(kind) is dict:
        yield from ((item, arguments[1], (*path, key)) for key, item in value.items())
    elif isinstance(value, list) and get_origin(kind) in (list, tuple) and arguments:
        same = get_origin(kind) is list or arguments[-1] is Ellipsis
        kinds = [arguments[0]] * len(value) if same else list(arguments)
        for index, (item, below) in enumerate(zip(value, kinds, strict=False)):
            yield item, below, (*path, index)


def _keys(value: Any, kind: Any, path: KeyPath, origin: Origin) -> UsageError | None:
    choices = [choice for choice in (kind, *get_args(kind)) if _is_struct(choice)]
    if not isinstance(value, dict) or len(choices) != 1:
        return None
    fields = msgspec.structs.fields(choices[0])
    known = [field.encode_name for field in fields]
    for key in value:
        if key not in known and choices[0].__struct_config__.forbid_unknown_fields:
            return origin.error((*path, key), "is not a known key", suggestion(key, known))
    for field in fields:
        if field.required and field.encode_name not in value:
            problem = f"has no {field.encode_name}" if path else f"the key {field.encode_name} is missing"
            return origin.error(path, problem, f"{key_path((*path, field.encode_name))} must be given.")
    return None


def _mistyped(value: Any, kind: Any, path: KeyPath, origin: Origin, message: str) -> UsageError:
    hint = None
    if "Expected `bool" in message and isinstance(value, str):
        hint = "Write true or false."
    elif "Expected `str" in message and isinstance(value, bool | int | float):
        hint = "Put it in quotes."
    elif "Expected `array`" in message:
        hint = "Write a list: [a, b], or one `- item` a line."
    elif isinstance(kind, type) and hasattr(kind, "__members__") and isinstance(value, str):
        hint = suggestion(value, [str(member.value) for member in kind.__members__.values()])
    reason = message.split(" - at `")[0].replace("`", "")
    reason = reason.replace("array", "a list").replace("object", "a mapping")
    return origin.error(path, f"is {_what(value)}: {reason[:1].lower()}{reason[1:]}", hint)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
