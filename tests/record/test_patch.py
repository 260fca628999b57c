import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.record.patch import json_patch

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([0.0, 1.0, 0.5])
    | st.sampled_from(["", "a", "~/"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["", "a", "b", "~", "/", "0"]), inner),
    max_leaves=12,
)


def apply(document: Any, patch: list[dict[str, Any]]) -> Any:
    """RFC 6902 for add, remove and replace, read from the standard."""
    root = {"": copy.deepcopy(document)}
    for operation in patch:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")]
        parent: Any = root
        for part in parts[:-1]:
            parent = parent[int(part)] if isinstance(parent, list) else parent[part]
        key: Any = int(parts[-1]) if isinstance(parent, list) else parts[-1]
        match operation["op"]:
            case "add":
                assert key not in parent
                parent[key] = operation["value"]
            case "replace":
                parent[key]
                parent[key] = operation["value"]
            case "remove":
                del parent[key]
            case other:
                raise AssertionError(other)
    return root[""]


@given(values, values)
def test_a_patch_turns_one_document_into_the_other_types_included(before: Any, after: Any) -> None:
    assert repr_sorted(apply(before, json_patch(before, after))) == repr_sorted(after)


@given(values)
def test_nothing_changed_is_an_empty_patch(value: Any) -> None:
    assert json_patch(value, copy.deepcopy(value)) == []


def repr_sorted(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{repr_sorted(item)}" for key, item in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(repr_sorted, value)) + "]"
    return repr(value)


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({"a": 1}, {"a": 2}, [{"op": "replace", "path": "/a", "value": 2}]),
        ({"a": 1}, {}, [{"op": "remove", "path": "/a"}]),
        ({}, {"a/b~c": None}, [{"op": "add", "path": "/a~1b~0c", "value": None}]),
        ({"x": [1, 2]}, {"x": [1, 3]}, [{"op": "replace", "path": "/x/1", "value": 3}]),
        ({"x": [1, 2]}, {"x": [1]}, [{"op": "replace", "path": "/x", "value": [1]}]),
        ({"x": 1}, {"x": True}, [{"op": "replace", "path": "/x", "value": True}]),
        ({"x": 1}, {"x": 1.0}, [{"op": "replace", "path": "/x", "value": 1.0}]),
        ({"x": None}, {}, [{"op": "remove", "path": "/x"}]),
    ],
)
def test_patches_are_those_of_the_standard(before: Any, after: Any, patch: list[dict[str, Any]]) -> None:
    assert json_patch(before, after) == patch
