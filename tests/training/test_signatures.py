import datetime as dt
import hashlib
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.feather as pa_feather
import pyarrow.parquet as pa_parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.record.hashing import signature
from harness.training import signatures
from harness.training.signatures import table_signature

ROWS = 257
TABLE = pa.table(
    {
        "id": pa.array(range(ROWS), pa.int64()),
        "price": pa.array([None if row % 50 == 3 else row / 7 for row in range(ROWS)]),
        "whole": pa.array([float(row) for row in range(ROWS)]),
        "name": pa.array([None if row % 60 == 5 else f'näme, "{row % 9}"\n' for row in range(ROWS)]),
        "day": pa.array([dt.date(2020, 1, 1) + dt.timedelta(row) for row in range(ROWS)]),
        "at": pa.array([dt.datetime(2020, 1, 1, 5, 0, 1) + dt.timedelta(hours=row) for row in range(ROWS)]),
        "flag": pa.array([row % 3 == 0 for row in range(ROWS)]),
    }
)


def column(values, kind=None) -> pa.Table:
    return pa.table({"c": pa.array(values, kind)})


def signed(values, kind=None, **options):
    return table_signature(column(values, kind), **options)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    pa_csv.write_csv(TABLE, folder / "table.csv")
    with pa.CompressedOutputStream(str(folder / "table.csv.gz"), "gzip") as stream:
        pa_csv.write_csv(TABLE, stream)
    pa_parquet.write_table(TABLE, folder / "table.parquet", row_group_size=17)
    pa_parquet.write_table(TABLE, folder / "coded.parquet", use_dictionary=False, compression="gzip", version="1.0")
    pa_feather.write_feather(TABLE, folder / "table.feather", chunksize=31)
    return folder


@pytest.mark.parametrize("ordered", [True, False])
def test_every_format_of_one_table_has_one_signature(files, ordered):
    found = {path.name: table_signature(path, ordered=ordered) for path in sorted(files.iterdir())}
    assert len(found) == 5
    assert set(found.values()) == {table_signature(TABLE, ordered=ordered)}, found


def test_a_csv_file_with_all_types_named_is_streamed_to_the_same_signature(files):
    types = dict(zip(TABLE.column_names, TABLE.schema.types, strict=True))
    assert table_signature(str(files / "table.csv"), types=types, batch_rows=10) == table_signature(TABLE)


def test_what_only_storage_decides_does_not_count():
    expected = table_signature(TABLE, ordered=True)
    stored = {
        "columns in another order": TABLE.select(TABLE.column_names[::-1]),
        "one chunk": TABLE.combine_chunks(),
        "many chunks": pa.concat_tables([TABLE.slice(row, 10) for row in range(0, ROWS, 10)]),
        "a slice": pa.concat_tables([TABLE, TABLE]).slice(ROWS),
        "dictionaries": TABLE.set_column(3, "name", TABLE["name"].dictionary_encode()),
        "large text": TABLE.set_column(3, "name", TABLE["name"].cast(pa.large_string())),
        "narrow integers": TABLE.set_column(0, "id", TABLE["id"].cast(pa.int16())),
        "whole numbers": TABLE.set_column(2, "whole", TABLE["whole"].cast(pa.uint32())),
        "midnights": TABLE.set_column(4, "day", TABLE["day"].cast(pa.timestamp("ns"))),
        "nanoseconds": TABLE.set_column(5, "at", TABLE["at"].cast(pa.timestamp("ns"))),
        "metadata": TABLE.replace_schema_metadata({"pandas": "{}"}),
    }
    different = [name for name, table in stored.items() if table_signature(table, ordered=True) != expected]
    assert different == []
    assert table_signature(TABLE.to_reader(7), ordered=True, batch_rows=5) == expected
    assert table_signature([TABLE.slice(0, 100), TABLE.slice(100)], ordered=True) == expected


def test_row_order_counts_only_where_asked_and_duplicates_always():
    turned = TABLE.take(list(range(ROWS))[::-1])
    assert table_signature(turned) == table_signature(TABLE)
    assert table_signature(turned, ordered=True) != table_signature(TABLE, ordered=True)
    assert table_signature(TABLE, ordered=True) != table_signature(TABLE)
    assert len({signed(values) for values in ([1, 2], [1, 1, 2], [1, 2, 2], [1, 1, 1, 2, 2, 2], [2, 1])}) == 4


def test_every_changed_value_name_or_column_changes_the_signature():
    changed = {table_signature(TABLE)}
    for number, name in enumerate(TABLE.column_names):
        values = TABLE[name].to_pylist()
        values[100] = None
        changed.add(table_signature(TABLE.set_column(number, name, pa.array(values, TABLE[name].type))))
        changed.add(table_signature(TABLE.rename_columns([*TABLE.column_names[:number], "other", *TABLE.column_names[number + 1 :]])))  # fmt: skip # noqa: E501
        changed.add(table_signature(TABLE.drop_columns([name])))
    assert len(changed) == 1 + 3 * TABLE.num_columns
    swapped = (
        pa.table({"a": [1, 2], "b": [3, 4]}),
        pa.table({"b": [1, 2], "a": [3, 4]}),
        pa.table({"a": [1, 4], "b": [3, 2]}),
    )
    assert len({table_signature(table) for table in swapped}) == 3


def test_numbers_are_one_value_in_every_width_and_kind():
    for number in (0, 1, -1, 100, -(2**31), 2**53):
        kinds = [pa.int64(), pa.float64(), pa.decimal128(38, 0), pa.decimal256(40, 2)]
        assert len({signed([number], kind) for kind in kinds}) == 1, number
    assert signed([7], pa.uint8()) == signed([7], pa.int32()) == signed([7.0], pa.float32())
    assert signed([2**63], pa.uint64()) == signed([2.0**63]) != signed([-(2**63)])
    assert signed([0.5], pa.float32()) == signed([0.5]) == signed([Decimal("0.50")])


def test_numbers_that_only_look_alike_are_several():
    assert signed([0.1], pa.float32()) != signed([0.1])
    assert signed([Decimal("0.1")]) != signed([0.1])
    assert signed([2**53 + 1]) != signed([2.0**53])
    assert signed([0.0]) != signed([-0.0])
    assert signed([0]) == signed([0.0])
    assert len({signed([value]) for value in (1, "1", b"1", True, Decimal("1.1"), 1.1)}) == 6


def test_nulls_are_of_no_type_and_no_nan_zero_or_empty_text():
    kinds = [pa.null(), pa.int8(), pa.float64(), pa.string(), pa.timestamp("us"), pa.list_(pa.int8()), pa.struct([])]
    assert len({signed([None, None], kind) for kind in kinds}) == 1
    assert len({signed([value]) for value in (None, float("nan"), 0, "", b"", False, [], [None], {"a": None})}) == 9
    payload = np.array([0x7FF8000000000001, 0xFFF8000000000000], np.uint64).view(np.float64)
    assert signed(payload) == signed([float("nan")] * 2)


def test_moments_are_one_in_every_zone_and_unit_and_no_time_without_a_zone():
    moment = dt.datetime(2020, 7, 1, 12, tzinfo=dt.UTC)
    kinds = [
        pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in ("UTC", "Europe/Berlin", "+02:00")
    ]
    assert len({signed([moment], kind) for kind in kinds}) == 1
    plain = [signed([moment.replace(tzinfo=None)], pa.timestamp(unit)) for unit in ("s", "ns")]
    assert plain[0] == plain[1] != signed([moment])
    assert (
        signed([dt.date(2020, 7, 1)], pa.date64()) == signed([dt.date(2020, 7, 1)]) == signed([dt.datetime(2020, 7, 1)])
    )
    early = np.array(["0001-01-01T00:00:00"], "datetime64[s]")
    assert signed(early) == signed(early.astype("datetime64[us]"))
    assert (
        signed([dt.time(1)], pa.time32("s")) == signed([dt.time(1)], pa.time64("ns")) != signed([dt.timedelta(hours=1)])
    )
    assert signed([-1], pa.timestamp("ns")) != signed([1], pa.timestamp("ns"))


def test_nested_values_are_compared_by_value_whatever_their_layout():
    rows = [[1, 2], None, [], [None, 3], [1, 2]]
    lists = {
        signed(rows, kind) for kind in (pa.list_(pa.int64()), pa.large_list(pa.float64()), pa.list_view(pa.int8()))
    }
    assert len(lists) == 1
    padded = column([[0, 0], *rows, [9]], pa.list_(pa.int64())).slice(1, len(rows))
    assert table_signature(padded) in lists
    assert signed([[1, 2], None], pa.list_(pa.int64(), 2)) == signed([[1, 2], None])
    structs = [{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}]
    turned = pa.struct([("b", pa.large_string()), ("a", pa.int8())])
    assert signed(structs) == signed(structs, turned)
    assert signed(structs) != signed([{"a": 1, "b": "x"}, {"a": None, "b": None}, {"a": None, "b": "y"}])
    kind = pa.map_(pa.string(), pa.int64())
    assert signed([[("a", 1), ("b", 2)], None], kind) == signed([[("b", 2), ("a", 1)], None], kind)
    assert signed([[("a", 1), ("b", 2)]], kind) != signed([[("a", 2), ("b", 1)]], kind)
    assert len({signed([value]) for value in ([[1], [2]], [[1, 2]], [[1, 2], []], [[], [1, 2]])}) == 4


VALUES = st.one_of(
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))),
    st.lists(st.one_of(st.none(), st.floats())),
    st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"])))),
    st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(0, 9))))),
)


def same(one, other) -> bool:
    """Whether two lists hold the same values, the bits and sign of floats counting."""
    return repr(one) == repr(other)


@settings(max_examples=80, deadline=None)
@given(VALUES, VALUES, st.integers(1, 4))
def test_two_columns_have_one_signature_exactly_where_their_values_are_the_same(one, other, size):
    def whole(values):
        numeric = [int(v) if isinstance(v, float) and v.is_integer() and repr(v) != "-0.0" else v for v in values]
        return [v if not isinstance(v, int) or -(2**63) <= v < 2**64 else float(v) for v in numeric]

    first, second = (table_signature(column(values), ordered=True, batch_rows=size) for values in (one, other))
    assert (first == second) is same(whole(one), whole(other))


def test_the_signature_is_the_described_one():
    def cell(kind: bytes, content: bytes) -> bytes:
        return kind + content.ljust(32, b"\0")

    numbers = [cell(b"i", (1).to_bytes(8, "big")), cell(b"i", (2).to_bytes(8, "big"))]
    texts = [cell(b"s", hashlib.sha256(b"a").digest()), bytes(33)]
    rows = [number + text for number, text in zip(numbers, texts, strict=True)]
    unordered = b"".join(sorted(hashlib.sha256(row).digest() for row in rows))
    table = pa.table({"t": ["a", None], "n": [1, 2]})
    for ordered, content in ((True, b"".join(rows)), (False, unordered)):
        described = {
            "schema": "harness.table/1", "columns": ["n", "t"], "ordered": ordered, "rows": 2,
            "content": f"sha256:{hashlib.sha256(content).hexdigest()}",
        }  # fmt: skip
        assert table_signature(table, ordered=ordered) == signature(described)


def test_rows_beyond_what_memory_may_hold_wait_in_a_file(monkeypatch):
    table = pa.table({"n": pc.random(5000, initializer=3)})
    expected = table_signature(table)
    monkeypatch.setattr(signatures, "_RUN", 512)
    assert table_signature(table, batch_rows=100) == expected
    assert table_signature(table.take(list(range(5000))[::-1]), batch_rows=333) == expected
    assert table_signature(table.slice(1), batch_rows=100) != expected


def test_tables_without_rows_differ_by_their_columns():
    assert table_signature(TABLE.slice(0, 0)) != table_signature(TABLE.slice(0, 0).drop_columns(["id"]))
    assert table_signature(pa.table({})) == table_signature(pa.table({}))


def test_texts_of_digits_in_a_csv_file_need_their_type_named(tmp_path):
    (tmp_path / "codes.csv").write_text("c\n01234\n00007\n")
    codes = signed(["01234", "00007"])
    assert table_signature(tmp_path / "codes.csv") != codes
    assert table_signature(tmp_path / "codes.csv", types={"c": pa.string()}) == codes


def test_an_empty_field_is_null_and_an_empty_text_in_quotes_is_text(tmp_path):
    (tmp_path / "t.csv").write_text('c,d\n,1\n"",1\nNA,1\n')
    assert table_signature(tmp_path / "t.csv", ordered=True) == table_signature(
        pa.table({"c": [None, "", "NA"], "d": [1, 1, 1]}), ordered=True
    )


@pytest.mark.parametrize(
    "source",
    [
        [],
        {},
        3,
        None,
        [TABLE, TABLE.drop_columns(["id"])],
        pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]),
    ],
)
def test_what_is_no_table_is_refused(source):
    with pytest.raises(UsageError):
        table_signature(source)


def test_files_that_cannot_be_read_are_refused(tmp_path, files):
    (tmp_path / "empty.csv").touch()
    (tmp_path / "half.parquet").write_bytes((files / "table.parquet").read_bytes()[:-30])
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n3\n")
    for name in ("empty.csv", "half.parquet", "ragged.csv", "nothing.csv"):
        with pytest.raises(UsageError):
            table_signature(tmp_path / name)
    with pytest.raises(UsageError, match="types names"):
        table_signature(files / "table.csv", types={"nme": pa.string()})


def test_a_column_without_a_canonical_form_is_refused_by_name():
    union = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])])
    with pytest.raises(UsageError, match="'c'"):
        table_signature(pa.table({"c": union}))


def written(folder, text, **options):
    (folder / "written.csv").write_text(text)
    return table_signature(folder / "written.csv", **options)


def test_empty_lines_are_the_nulls_of_a_table_with_one_column(tmp_path):
    table = column([None, None, 1, None])
    pa_csv.write_csv(table, tmp_path / "one.csv")
    pa_parquet.write_table(table, tmp_path / "one.parquet")
    kinds = [written(tmp_path, text, ordered=True) for text in ("c\n\n\n1\n\n", "c\r\n\r\n\r\n1\r\n\r\n")]
    kinds += [table_signature(tmp_path / name, ordered=True) for name in ("one.csv", "one.parquet")]
    kinds += [written(tmp_path, "c\n\n\n1\n\n", ordered=True, types={"c": pa.int64()})]
    assert set(kinds) == {table_signature(table, ordered=True)}
    assert written(tmp_path, "c\n1\n") == written(tmp_path, "c\n1") == signed([1]) != written(tmp_path, "c\n\n1\n")
    assert written(tmp_path, "c\n\n") == signed([None]) != written(tmp_path, "c\n") == signed([])
    with pytest.raises(UsageError, match="begins with an empty line"):
        written(tmp_path, "\nc\n1\n")


def test_empty_lines_are_no_rows_of_a_table_with_several_columns(tmp_path):
    table = pa.table({"a": [1, None, 3], "b": [2, None, 4]})
    assert written(tmp_path, "\na,b\n1,2\n\n,\n3,4\n\n") == table_signature(table)


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["18446744073709551615", None, "0"], pa.uint64()),
        (["9223372036854775808", "9223372036854775809"], pa.uint64()),
        (["9223372036854775808", "-1"], pa.decimal256(76, 0)),
        (["18446744073709551617", "+7", " 1 "], pa.decimal128(38, 0)),
        (["9" * 76, "1"], pa.decimal256(76, 0)),
    ],
)
def test_large_whole_numbers_of_a_csv_file_are_read_exactly(tmp_path, texts, kind):
    rows = [f"{'' if text is None else text},x" for text in texts]
    expected = pa.table({"c": pa.array([text and int(text) for text in texts], kind), "d": ["x"] * len(texts)})
    assert written(tmp_path, "\n".join(["c,d", *rows])) == table_signature(expected)
    one_less = "\n".join(["c,d", f"{int(texts[0]) - 1},x", *rows[1:]])
    assert written(tmp_path, one_less) != table_signature(expected)


def test_large_whole_numbers_that_float64_has_may_stand_beside_others(tmp_path):
    assert written(tmp_path, "c\n9007199254740992\n1.5\n") == signed([2.0**53, 1.5])
    assert written(tmp_path, "c\n1e400\n-inf\n9007199254740994\nnan\n") == signed(
        [float("inf"), float("-inf"), 2.0**53 + 2, float("nan")]
    )


@pytest.mark.parametrize("texts", [["9007199254740993", "1.5"], ["9" * 77], ["9" * 5000, "nan"]])
def test_large_whole_numbers_of_a_csv_file_that_no_type_holds_want_theirs_named(tmp_path, texts):
    text = "\n".join(["c", *texts])
    with pytest.raises(UsageError, match="whole numbers that float64 has not"):
        written(tmp_path, text)
    rounded = [float(value) for value in texts]
    assert written(tmp_path, text, types={"c": pa.float64()}) == signed(rounded)
    assert written(tmp_path, text, types={"c": pa.string()}) == signed(texts)
