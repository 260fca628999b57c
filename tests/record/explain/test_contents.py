"""Every format with planted differences: the place and the kind are named, and no cause that is not there."""

import gzip
import io
import json
import pickle
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from harness.record.explain import archives, contents
from harness.record.explain.cause import UNKNOWN, Facts, Finding, Kind, Pair
from harness.record.explain.contents import compare_contents, compare_files
from tests.record.explain.conftest import BEGUN, LATER

NOT_NAMED = {Kind.NUMBER, Kind.TEXT, Kind.BYTES}


def found(before: bytes | str, after: bytes | str, facts: Pair, name: str = "a.txt") -> list[Finding]:
    one, other = (side.encode() if isinstance(side, str) else side for side in (before, after))
    return list(compare_contents(name, one, other, facts))


def kinds(before: bytes | str, after: bytes | str, facts: Pair, name: str = "a.txt") -> list[Kind]:
    return [finding.kind for finding in found(before, after, facts, name)]


def npy(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def zipped(stamp: tuple[int, ...] = (2026, 3, 5, 10, 0, 0), **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name.replace("__", "/"), stamp), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("at 2026-03-05 10:00:03.25", "at 2026-03-07 10:07:09.5", Kind.TIME),
        ("2026-03-05T10:00:03Z", "2026-03-07T10:07:04Z", Kind.TIME),
        ("Thu Mar  5 10:00:03 2026", "Sat Mar  7 10:07:04 2026", Kind.TIME),
        ("run_20260305-100003", "run_20260307-100704", Kind.TIME),
        (f"t={BEGUN.timestamp() + 4:.3f}", f"t={LATER.timestamp() + 5:.3f}", Kind.TIME),
        (f"t={BEGUN.timestamp() * 1000:.0f}", f"t={LATER.timestamp() * 1000:.0f}", Kind.TIME),
        ("took 1.25s", "took 1.31s", Kind.DURATION),
        ("fit     9.87 ms", "fit    10.02 ms", Kind.DURATION),
        ("elapsed: 3.5", "elapsed: 4.5", Kind.DURATION),
        ("31.5 it/s", "29.1 it/s", Kind.DURATION),
        ("id 6f1b2c3d-0a0a-4b4b-8c8c-123456789abc", "id 6f1b2c3d-0a0a-4b4b-8c8c-123456789abd", Kind.TOKEN),
        ("<Node object at 0x7f3c00aa1020>", "<Node object at 0x7f4400aa1020>", Kind.ADDRESS),
        ("pid 4711", "pid 4712", Kind.PROCESS),
        ("in /tmp/cache_ab12xy_z/a.csv", "in /tmp/cache_cd34_vwq/a.csv", Kind.TOKEN),
        ("/tmp/run-lastfv3r/cache_st6hk_ii", "/tmp/run-k3ytfv3r/cache_w_6hk_ii", Kind.TOKEN),
        ("in /tmp/tmpab12xy_z.", "in /tmp/tmpcd34_vwq.", Kind.TOKEN),
        ("host: 0a1b2c3d4e5f", "host: 0a1b2c3d4e60", Kind.HOST),
        ("{'red', 'green', 'blue'}", "{'blue', 'red', 'green'}", Kind.ORDER),
        ("one\ntwo\nthree", "two\none\nthree", Kind.ORDER),
    ],
)
def test_a_cause_in_text_is_named(before: str, after: str, kind: Kind, facts: Pair) -> None:
    assert kinds(before, after, facts) == [kind]


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("at 2024-03-05 10:00:03", "at 2026-03-07 10:07:09", Kind.TEXT),  # not a time of the first run
        ("t=1709632803.0", f"t={LATER.timestamp():.1f}", Kind.NUMBER),
        ("took 1.25s", "took 900.5s", Kind.NUMBER),  # longer than the run
        ("loss 0.125", "loss 0.126", Kind.NUMBER),
        ("a  b", "a b", Kind.TEXT),
        ("time steps 5", "colour 5", Kind.TEXT),
        ("in /tmp/first/a.csv", "in /tmp/other/a.csv", Kind.TEXT),
        ("in cache_abcdefgh", "in cache_ijklmnop", Kind.TEXT),
        ("rapid 4711", "rapid 4712", Kind.NUMBER),
        ("id a1b2c3d4e5", "id a1b2c3d4e6", Kind.TEXT),  # random bits, or a digest of what differs
        ("{'red', 'green'}", "{'red', 'gray'}", Kind.TEXT),
        ("one\ntwo", "one\ntwo\nthree", Kind.TEXT),
        ("one\ntwo", "one\ntoo", Kind.TEXT),
    ],
)
def test_what_only_looks_like_a_cause_is_none(before: str, after: str, kind: Kind, facts: Pair) -> None:
    assert kinds(before, after, facts) == [kind]


def test_an_order_hides_no_number_that_differs_too(facts: Pair) -> None:
    before = "a 1.5 took 0.2s\nb 2.5 took 0.3s\n"
    assert kinds(before, "b 2.5 took 0.4s\na 1.5 took 0.1s\n", facts) == [Kind.ORDER, Kind.DURATION, Kind.DURATION]
    assert Kind.NUMBER in kinds(before, "b 2.5 took 0.4s\na 1.6 took 0.1s\n", facts) or Kind.TEXT in kinds(
        before, "b 2.5 took 0.4s\na 1.6 took 0.1s\n", facts
    )


def test_the_first_number_that_differs_is_shown_with_its_line_and_both_values(facts: Pair) -> None:
    (finding,) = found("a 1\nloss 0.5 of 7\n", "a 1\nloss 0.4 of 7\n", facts)
    assert finding == Finding("line 2", Kind.NUMBER, "0.5", "0.4", "relative difference 0.2")


def test_a_tables_columns_say_what_its_numbers_are(facts: Pair) -> None:
    before, after = "model,fit_time,loss\nx,1.5,3.0\n", "model,fit_time,loss\nx,1.6,3.5\n"
    assert [(one.where, one.kind) for one in found(before, after, facts, "a.csv")] == [
        ("line 2, column fit_time", Kind.DURATION),
        ("line 2, column loss", Kind.NUMBER),
    ]
    assert kinds(before, after, facts, "a.txt") == [Kind.NUMBER, Kind.NUMBER]


def test_a_json_value_is_named_by_its_path(facts: Pair) -> None:
    before = {"at": BEGUN.timestamp(), "fit_seconds": 1.5, "auc": [0.9, 0.8], "tags": ["a", "b"], "pid": 12}
    after = {"at": LATER.timestamp(), "fit_seconds": 2.5, "auc": [0.9, 0.7], "tags": ["b", "a"], "pid": 13}
    assert [(one.where, one.kind) for one in found(json.dumps(before), json.dumps(after), facts)] == [
        ("$.at", Kind.TIME), ("$.fit_seconds", Kind.DURATION), ("$.auc[1]", Kind.NUMBER), ("$.tags", Kind.ORDER),
        ("$.pid", Kind.PROCESS),
    ]  # fmt: skip
    assert kinds('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', facts) == [Kind.ORDER]
    assert kinds('{"a": 1, "b": 2}', '{"b": 2, "a": 3}', facts) == [Kind.ORDER, Kind.NUMBER]
    assert kinds('{"a": 1}', '{"a":  1}', facts) == [Kind.TEXT]


def test_an_array_is_named_by_its_first_element_that_differs(facts: Pair) -> None:
    array = np.arange(12.0).reshape(4, 3)
    other = array.copy()
    other[2, 1] += 0.7
    (finding,) = found(npy(array), npy(other), facts)
    assert finding == Finding("element [2, 1]", Kind.NUMBER, "7.0", "7.7", "relative difference 0.091")
    assert kinds(npy(array), npy(array[::-1]), facts) == [Kind.ORDER]
    assert kinds(npy(array), npy(array[:3]), facts) == [Kind.TEXT]
    assert kinds(npy(array), npy(array.astype("f4")), facts) == [Kind.TEXT]
    assert kinds(npy(np.array([0.0])), npy(np.array([-0.0])), facts) == [Kind.NUMBER]
    assert kinds(npy(1.5), npy(2.5), facts, "fit_time.npy") == [Kind.DURATION]
    assert kinds(npy(1.5), npy(2.5), facts, "loss.npy") == [Kind.NUMBER]


def test_a_fortran_array_is_indexed_as_it_is_used(facts: Pair) -> None:
    array = np.asfortranarray(np.arange(12.0).reshape(4, 3))
    other = array.copy(order="F")
    other[3, 0] = -1
    assert found(npy(array), npy(other), facts)[0].where == "element [3, 0]"


def test_members_of_archives_are_looked_into(facts: Pair) -> None:
    (finding,) = found(npz(x=np.arange(3), y=np.zeros(4)), npz(x=np.arange(3), y=np.ones(4)), facts)
    assert (finding.where, finding.kind) == ("member y.npy, element [0]", Kind.NUMBER)
    assert kinds(zipped(a=b"x"), zipped((2026, 3, 7, 10, 7, 0), a=b"x"), facts) == [Kind.TIME]
    assert kinds(zipped(a=b"x", b=b"y"), zipped(b=b"y", a=b"x"), facts) == [Kind.ORDER]
    assert kinds(zipped(a=b"x", b=b"y"), zipped(a=b"x"), facts) == [Kind.TEXT]
    assert kinds(zipped(a=b"loss 1"), zipped(a=b"loss 2"), facts) == [Kind.NUMBER]
    roots = zipped(m_20260305_100001__data=b"x"), zipped(m_20260307_100701__data=b"x")
    assert kinds(*roots, facts) == [Kind.TIME]


def test_gzip_is_unpacked_and_its_header_read(facts: Pair) -> None:
    one = gzip.compress(b"loss 1", mtime=BEGUN.timestamp())
    assert kinds(one, gzip.compress(b"loss 1", mtime=LATER.timestamp()), facts) == [Kind.TIME]
    assert kinds(one, gzip.compress(b"loss 2", mtime=BEGUN.timestamp()), facts) == [Kind.NUMBER]


def test_a_pickle_is_read_and_never_loaded(facts: Pair, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> object:
            return (Path.touch, (tmp_path / "exploded",))

    one, other = (pickle.dumps([Bomb(), number]) for number in (1, 2))
    assert kinds(one, other, facts) == [Kind.NUMBER]
    assert not (tmp_path / "exploded").exists()
    times = ({"seconds": 1.5, "loss": 2.0}, {"seconds": 2.5, "loss": 2.0})
    assert kinds(*map(pickle.dumps, times), facts) == [Kind.DURATION]
    assert kinds(pickle.dumps({"loss": 1.5}), pickle.dumps({"loss": 2.5}), facts) == [Kind.NUMBER]
    assert kinds(pickle.dumps(["a", "b", "c"]), pickle.dumps(["c", "a", "b"]), facts) == [Kind.ORDER]
    assert kinds(pickle.dumps(["a", "b"]), pickle.dumps(["a", "c"]), facts) == [Kind.TEXT]


def test_of_other_bytes_the_first_that_differs_is_named_and_the_texts_among_them(facts: Pair) -> None:
    (finding,) = found(b"\0\1\2\3" * 5, b"\0\1\2\3" * 4 + b"\0\1\2\4", facts)
    assert (finding.where, finding.kind, finding.before, finding.after) == ("offset 19", Kind.BYTES, "03", "04")
    one, other = (b"\0\1\xff" + moment + b"\0\0" for moment in (b"2026-03-05 10:00:03", b"2026-03-07 10:07:04"))
    assert kinds(one, other, facts) == [Kind.TIME]
    assert kinds(one, other + b"\1", facts) == [Kind.BYTES]


def test_an_array_of_objects_is_compared_as_bytes(facts: Pair) -> None:
    assert kinds(npy(np.array([1, "a"], dtype=object)), npy(np.array([2, "a"], dtype=object)), facts) == [Kind.BYTES]


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x93NUMPY\x01\x00\xff\xff{'descr': '<f8'",
        b"\x93NUMPY\x01\x00\x46\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999,), }".ljust(70),
        b"\x93NUMPY\x01\x00\x46\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(70),
        b"\x93NUMPY\x09\x00\x46\x00",
        b"PK\x03\x04 no archive",
        b"\x1f\x8b\x08 no gzip",
        b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x80\x05" + b"\x8a\xff" + b"\1" * 40,
        b"[" * 100_000,
        b"{" + b'"a":' * 3 + b"}",
        b"[" + b"9" * 10_000 + b"]",
        b"1e999999 " + b"9" * 5000,
        b"a" * 300_000,
        b"\xff\xfe\0\0",
        b"",
    ],
)
def test_what_is_not_what_it_says_is_still_compared(hostile: bytes, facts: Pair) -> None:
    for one, other in ((hostile, hostile + b"!"), (hostile, b"x"), (b"x", hostile)):
        findings = found(one, other, facts, "a.csv")
        assert findings
        assert {finding.kind for finding in findings} <= NOT_NAMED


def test_deep_json_is_not_followed_down(facts: Pair) -> None:
    one, other = ("[" * 300 + value + "]" * 300 for value in "12")
    assert kinds(one, other, facts) == [Kind.TEXT]


def test_a_bomb_is_not_unpacked(facts: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LIMIT", 1 << 20)
    one, other = zipped(a=bytes(4 << 20)), zipped(a=bytes(4 << 20) + b"1")
    (finding,) = found(one, other, facts)
    assert "not looked into" in finding.detail
    lying = one.replace((4 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert kinds(lying, other, facts) == [Kind.BYTES]
    assert kinds(gzip.compress(bytes(4 << 20)), gzip.compress(bytes(5 << 20)), facts) == [Kind.BYTES]
    assert len(zlib.compress(bytes(4 << 20))) < 1 << 20


def test_a_file_that_is_too_large_is_only_said_to_differ(
    facts: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "LIMIT", 10)
    paths = tmp_path / "one", tmp_path / "other"
    for path, text in zip(paths, ("loss 1 of many", "loss 2 of many"), strict=True):
        path.write_text(text)
    (finding,) = compare_files(*paths, facts)
    assert (finding.kind, finding.detail) == (Kind.BYTES, "not looked into: 14 bytes")


def test_the_folder_that_a_run_worked_in_is_named_and_hides_nothing_else() -> None:
    runs = Facts(folder="/r/.one.partial-a1/work"), Facts(folder="/r/.two.partial-b2/work")
    one, other = (f"best in {run.folder}/models" for run in runs)
    assert kinds(one, other, runs) == [Kind.FOLDER]
    assert kinds(one, f"{other}/x", runs) == [Kind.FOLDER, Kind.TEXT]
    assert kinds(one, "best in /elsewhere/models", runs) == [Kind.TEXT]
    assert kinds(pickle.dumps([one]), pickle.dumps([other]), runs) == [Kind.FOLDER]


def test_without_what_is_known_of_the_runs_a_number_is_no_time() -> None:
    assert kinds("t=1772704803.0", "t=1772884403.0", UNKNOWN) == [Kind.NUMBER]
    assert kinds("2026-03-05 10:00:03", "2026-03-07 10:07:04", UNKNOWN) == [Kind.TIME]
