import gzip
import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest
from msgspec.structs import replace as replace_fields

from harness.errors import UsageError
from harness.spec.experiment import Data, Experiment, Layout, View
from harness.training import tables
from harness.training.panel import Panel, check_panel, dataset_signature, date_text, load_panel

WIDE = Data(path="x")
LONG = Data(path="x", layout=Layout.LONG)
REAL = os.environ.get("HARNESS_TEST_PANEL")

TEXT = """Date,BBB,AAA,C.C
2020-01-01,10.5,1.25,
2020-01-02,10.25,1.5,0.1
2020-01-03,,1.75,0.30000000000000004
2020-01-06,11,2,0.3
"""


def write(folder: Path, text: str | bytes, name: str = "panel.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path, data: Data = WIDE) -> str:
    with pytest.raises(UsageError) as caught:
        load_panel(path, data)
    return str(caught.value)


def long_text(text: str = TEXT) -> str:
    """A wide table's rows one (date, symbol) a line, with a column of volumes."""
    header, *rows = [line.split(",") for line in text.splitlines()]
    lines = []
    for row in rows:
        for symbol, price in zip(header[1:], row[1:], strict=True):
            if price:
                lines.append(f"{row[0]},{symbol},{price},{len(lines) + 1}")
    return "Date,symbol,close,volume\n" + "\n".join(lines) + "\n"


def test_a_wide_csv_becomes_sorted_arrays(tmp_path: Path) -> None:
    panel = load_panel(write(tmp_path, TEXT), WIDE)
    assert panel.symbols == ("AAA", "BBB", "C.C")
    assert [date_text(day) for day in panel.dates] == ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-06"]
    expected = [[1.25, 10.5, np.nan], [1.5, 10.25, 0.1], [1.75, np.nan, 0.30000000000000004], [2.0, 11.0, 0.3]]
    np.testing.assert_array_equal(panel.prices, expected)
    assert panel.notes == ()


def wide_variants(folder: Path) -> dict[str, Path]:
    lines = TEXT.splitlines()
    table = pa_csv.read_csv(write(folder, TEXT))
    parquet = folder / "panel.parquet"
    pa_parquet.write_table(table, parquet)
    texts = folder / "text-dates.parquet"
    columns = {name: table[name] for name in table.column_names}
    pa_parquet.write_table(pa.table({**columns, "Date": table["Date"].cast(pa.string()).dictionary_encode()}), texts)
    times = folder / "times.parquet"
    pa_parquet.write_table(pa.table({**columns, "Date": table["Date"].cast(pa.timestamp("ns"))}), times)
    chunked = folder / "chunked.parquet"
    pa_parquet.write_table(pa.table({**columns, "Date": table["Date"].cast(pa.string())}), chunked, row_group_size=1)
    reordered = [",".join([line.split(",")[i] for i in (3, 1, 0, 2)]) for line in lines]
    return {
        "csv.gz": write(folder, gzip.compress(TEXT.encode()), "panel.csv.gz"),
        "parquet": parquet,
        "parquet with text dates": texts,
        "parquet with midnights": times,
        "parquet in row groups": chunked,
        "other rows first": write(folder, "\n".join([lines[0], *reversed(lines[1:])]), "rows.csv"),
        "other columns first": write(folder, "\n".join(reordered), "columns.csv"),
        "windows line ends": write(folder, TEXT.replace("\n", "\r\n"), "crlf.csv"),
        "byte order mark": write(folder, b"\xef\xbb\xbf" + TEXT.encode(), "bom.csv"),
        "no gap but a word": write(folder, TEXT.replace(",,", ",NaN,"), "nan.csv"),
        "times at midnight": write(folder, TEXT.replace("2020-01-02", "2020-01-02T00:00:00"), "midnight.csv"),
    }


def test_the_signature_depends_on_content_and_not_on_format_or_order(tmp_path: Path) -> None:
    expected = dataset_signature(load_panel(write(tmp_path, TEXT), WIDE))
    signatures = {name: dataset_signature(load_panel(path, WIDE)) for name, path in wide_variants(tmp_path).items()}
    assert signatures == dict.fromkeys(signatures, expected)


@pytest.mark.parametrize(
    ("old", "new"),
    [("1.25", "1.2500000000000002"), (",,", ",9,"), ("2020-01-06", "2020-01-07"), ("AAA", "AAB"), ("0.1", "")],
)
def test_one_changed_cell_changes_the_signature(tmp_path: Path, old: str, new: str) -> None:
    before = dataset_signature(load_panel(write(tmp_path, TEXT), WIDE))
    assert dataset_signature(load_panel(write(tmp_path, TEXT.replace(old, new, 1)), WIDE)) != before


def test_long_and_wide_tables_of_the_same_prices_agree(tmp_path: Path) -> None:
    wide = load_panel(write(tmp_path, TEXT), WIDE)
    prices_alone = "\n".join(line.rsplit(",", 1)[0] for line in long_text().splitlines())
    long = load_panel(write(tmp_path, prices_alone, "long.csv"), LONG)
    assert dataset_signature(long) == dataset_signature(wide)


def test_a_long_table_keeps_its_other_columns_of_numbers(tmp_path: Path) -> None:
    text = long_text()
    lines = text.splitlines()
    named = "\n".join([lines[0] + ",sector", *(line + ",tech" for line in lines[1:])])
    panel = load_panel(write(tmp_path, named), LONG)
    assert sorted(panel.columns) == ["close", "volume"]
    np.testing.assert_array_equal(panel.columns["volume"][0], [2, 1, np.nan])
    assert panel.notes == ("ignored columns that do not hold numbers: sector",)
    parquet = tmp_path / "long.parquet"
    pa_parquet.write_table(pa_csv.read_csv(write(tmp_path, text)), parquet)
    shuffled = "\n".join([lines[0], *sorted(lines[1:], key=lambda line: line[::-1])])
    plain = dataset_signature(load_panel(write(tmp_path, text), LONG))
    assert dataset_signature(load_panel(parquet, LONG)) == plain
    assert dataset_signature(load_panel(write(tmp_path, shuffled), LONG)) == plain
    assert dataset_signature(load_panel(write(tmp_path, text.replace(",3\n", ",4\n")), LONG)) != plain


def test_symbols_and_dates_are_selected(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT)
    data = Data(path="x", symbols=("C.C", "AAA"), start="2020-01-02", end="2020-01-04")
    for panel in (load_panel(path, data), load_panel(write(tmp_path, long_text()), replace_layout(data))):
        assert panel.symbols == ("AAA", "C.C")
        np.testing.assert_array_equal(panel.prices, [[1.5, 0.1], [1.75, 0.30000000000000004]])


def replace_layout(data: Data) -> Data:
    return Data(path="x", layout=Layout.LONG, symbols=data.symbols, start=data.start, end=data.end)


def test_what_is_outside_the_selection_changes_nothing(tmp_path: Path) -> None:
    data = Data(path="x", symbols=("AAA", "BBB"))
    before = dataset_signature(load_panel(write(tmp_path, TEXT), data))
    assert dataset_signature(load_panel(write(tmp_path, TEXT.replace("0.1", "7")), data)) == before
    assert dataset_signature(load_panel(write(tmp_path, TEXT.replace("10.5", "7")), data)) != before


def test_what_reading_changed_is_noted(tmp_path: Path) -> None:
    lines = TEXT.splitlines()
    text = "\n".join([lines[0] + ",EMPTY,FLAT", lines[3] + ",,5", lines[1] + ",,5", "2020-01-08,,,,,"])
    panel = load_panel(write(tmp_path, text), WIDE)
    assert panel.symbols == ("AAA", "BBB", "C.C", "FLAT")
    assert panel.notes == (
        "rows were not in the order of their dates: sorted",
        "left out symbols without any price: EMPTY",
        "left out 1 dates without any price",
        "the price never changes for BBB, C.C, FLAT",
    )


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "panel.csv is empty"),
        ("\n\n", "panel.csv is empty"),
        ("Date,AAA\n", "header and no rows"),
        ("AAA,BBB\n1,2\n", "has no column 'Date'"),
        ("date,AAA\n2020-01-01,2\n", "Did you mean date?"),
        ("Date\n2020-01-01\n", "no column but Date"),
        ("Date,AAA,AAA\n2020-01-01,1,2\n", "has the column 'AAA' twice"),
        ("Date,Date,AAA\n2020-01-01,2020-01-01,2\n", "has the column 'Date' twice"),
        ("Date,AAA,aaa\n2020-01-01,1,2\n", "differ in case alone"),
        ("Date,../x\n2020-01-01,1\n", "U+002F"),
        ("Date,a\u202eb\n2020-01-01,1\n", "U+202E"),
        ("Date,\n2020-01-01,1\n", "A symbol is empty"),
        ("Date,AAA\n2020-01-01,abc\n", "abc"),
        ("Date,AAA\n2020-01-01,1\n2020-01-02,2,3\n", "Expected 2 columns, got 3"),
        ("Date,AAA\n2020-01-01,inf\n", "close of AAA on 2020-01-01 is inf"),
        ("Date,AAA\n2020-01-01,-inf\n", "close of AAA on 2020-01-01 is -inf"),
        ("Date,AAA\n2020-01-01,1\n2020-01-02,0\n", "close of AAA on 2020-01-02 is 0.0"),
        ("Date,AAA\n2020-01-01,-3\n2020-01-02,-1\n", "(2 such values in all)"),
        ("Date,AAA\n2020-01-01,\n", "holds no price"),
        ("Date,AAA\n2020-01-01,1\n2020-01-02,2\n2020-01-01,3\n", "2020-01-01 twice, in data rows 1 and 3"),
        ("Date,AAA\n2020-01-01,1\n2020-02-30,2\n", "'2020-02-30' in data row 2"),
        ("Date,AAA\n01/02/2020,1\n", "'01/02/2020' in data row 1"),
        ("Date,AAA\n2020,1\n", "'2020' in data row 1"),
        ("Date,AAA\n2020-01-01 09:30,1\n", "'2020-01-01 09:30' in data row 1"),
        ("Date,AAA\n,1\n", "'' in data row 1"),
        (b"Date,AAA\n2020-01-01,\xff\n", "panel.csv holds text that is not UTF-8"),
        (b"Date,AAA\n" + b"2020-01-01,1\n" * 999 + b"2020-01-01,\xff\n", "panel.csv cannot be read as a table"),
        (np.random.default_rng(0).integers(1, 256, 5000, dtype=np.uint8).tobytes(), "holds text that is not UTF-8"),
        ("Date,AAA\n2020-01-01,\x1b[31mred\n", "invalid value '?[31mred'"),
        (b"Date,\xff\xfe\n2020-01-01,1\n", "panel.csv holds text that is not UTF-8"),
        ((bytes(range(128, 256)) + b"\n") * 40, "panel.csv holds text that is not UTF-8"),
        (b"PK\x03\x04\x00\x00rest", "neither CSV, gzipped CSV nor Parquet"),
        (b"PAR1 and then nothing of the kind PAR1", "cannot be read as a table"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-20], "cannot be read as a table"),
        (gzip.compress(TEXT.encode(), mtime=0)[:20] + b"garbage" * 9, "cannot be read as a table"),
    ],
)
def test_a_wide_table_that_makes_no_sense_is_refused(tmp_path: Path, text: str | bytes, part: str) -> None:
    assert part in refusal(write(tmp_path, text))


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("Date,symbol", "Date,ticker", "has no column 'symbol'"),
        ("close", "price", "has no column 'close'"),
        ("2020-01-02,BBB", "2020-01-01,BBB", "2020-01-01 BBB twice, in data rows 1 and 3"),
        (",BBB,", ",B/B,", "U+002F"),
        (",BBB,", ",,", "A symbol is empty"),
        ("10.5", "ten", "ten"),
        (",1\n", ",inf\n", "volume of BBB on 2020-01-01 is inf"),
    ],
)
def test_a_long_table_that_makes_no_sense_is_refused(tmp_path: Path, old: str, new: str, part: str) -> None:
    assert part in refusal(write(tmp_path, long_text().replace(old, new, 1)), LONG)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"symbols": ("AAA", "CCC")}, "has no "),
        ({"symbols": ("AAA", "AAA")}, "twice"),
        ({"start": "2021-01-01"}, "It covers 2020-01-01 to 2020-01-06"),
        ({"start": "1/1/2020"}, "data.start '1/1/2020' is not a date"),
        ({"end": "2019-12-31"}, "has no date"),
        ({"start": "2020-01-03", "end": "2020-01-02"}, "is after"),
        ({"symbols": ("AAA", "C.C"), "end": "2020-01-01"}, "has no value for C.C"),
    ],
)
@pytest.mark.parametrize("layout", list(Layout))
def test_a_selection_that_is_not_there_is_refused(
    tmp_path: Path, fields: dict[str, Any], part: str, layout: Layout
) -> None:
    text = TEXT if layout is Layout.WIDE else long_text()
    assert part in refusal(write(tmp_path, text), Data(path="x", layout=layout, **fields))


@pytest.mark.parametrize(
    ("column", "values", "part"),
    [
        ("Date", pa.array([20200101, 20200102]), "holds int64, not dates"),
        ("Date", pa.array(["2020-01-01", None]), "Date is missing in data row 2"),
        ("Date", pa.array([0, 3_600_000], pa.timestamp("ms")), "1970-01-01T01:00:00.000"),
        ("Date", pa.array([0, 1], pa.timestamp("s", tz="America/New_York")), "times in America/New_York"),
        ("AAA", pa.array(["1.5", "2"]), "holds string, not numbers"),
        ("AAA", pa.array([[1.0], [2.0]]), "not numbers"),
    ],
)
def test_a_parquet_column_of_the_wrong_type_is_refused(
    tmp_path: Path, column: str, values: pa.Array, part: str
) -> None:
    columns = {"Date": pa.array(["2020-01-01", "2020-01-02"]), "AAA": pa.array([1.0, 2.0]), column: values}
    pa_parquet.write_table(pa.table(columns), tmp_path / "panel.parquet")
    assert part in refusal(tmp_path / "panel.parquet")


def test_other_types_of_numbers_are_read_as_float64(tmp_path: Path) -> None:
    columns = {
        "Date": pa.array([18262, 18263], pa.date32()),
        "A": pa.array([1, None], pa.int32()),
        "A.B": pa.array([0.1, 0.2], pa.float32()),
        "D": pa.array([Decimal("0.3000000000000000444"), None]),
    }
    pa_parquet.write_table(pa.table(columns), tmp_path / "panel.parquet")
    panel = load_panel(tmp_path / "panel.parquet", WIDE)
    assert panel.symbols == ("A", "A.B", "D")
    np.testing.assert_array_equal(
        panel.prices, [[1, np.float32(0.1), 0.30000000000000004], [np.nan, np.float32(0.2), np.nan]]
    )
    assert load_panel(tmp_path / "panel.parquet", Data(path="x", symbols=("A",))).symbols == ("A",)


@pytest.mark.parametrize("name", ["x.parquet", "X.PQ"])
def test_a_name_may_not_say_parquet_of_what_is_not(tmp_path: Path, name: str) -> None:
    assert f"{name} is not Parquet" in refusal(write(tmp_path, TEXT, name))
    assert f"{name} is not Parquet" in refusal(write(tmp_path, b"PK\x03\x04\x00\x00rest", name))
    pa_parquet.write_table(pa_csv.read_csv(write(tmp_path, TEXT)), tmp_path / name)
    assert load_panel(tmp_path / name, WIDE).symbols == ("AAA", "BBB", "C.C")


def test_a_letter_on_the_edge_of_what_is_looked_at_first_is_no_fault(tmp_path: Path) -> None:
    for length in range(4090, 4100):
        panel = load_panel(
            write(tmp_path, f"Date,AAA,{'x' * (length - 9)}\u20ac\n2020-01-01,1,2\n"),
            replace_fields(WIDE, symbols=("AAA",)),
        )
        assert panel.symbols == ("AAA",)


def test_text_in_parquet_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    table = pa.table({"Date": pa.array([b"2020-01-01", b"\xff"]).view(pa.string()), "AAA": pa.array([1.0, 2.0])})
    pa_parquet.write_table(table, tmp_path / "panel.parquet")
    assert "panel.parquet holds text that is not UTF-8" in refusal(tmp_path / "panel.parquet")


@pytest.mark.parametrize("symbols", [None, ("AAA", "BBB")])
@pytest.mark.parametrize("date", ["Date", "date"])
def test_a_long_table_that_is_read_as_wide_is_told_from_a_damaged_one(
    tmp_path: Path, symbols: tuple[str, ...] | None, date: str
) -> None:
    data = replace_fields(WIDE, symbols=symbols)
    text = refusal(write(tmp_path, long_text().replace("Date", date, 1)), data)
    assert "It has the columns symbol and close: write `data.layout: long`" in text
    assert ("and its data.date_column" in text) is (date == "date")
    assert "layout" not in refusal(write(tmp_path, long_text().replace("close", "price")), data)
    assert "layout" not in refusal(write(tmp_path, TEXT.replace("Date", date + "s")), data)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"start": "2021-01-01"}, "has no date from 2021-01-01 to the end"),
        ({"end": "2019-12-31"}, "has no date from the beginning to 2019-12-31"),
        ({"start": "2018-01-01", "end": "2019-12-31"}, "has no date from 2018-01-01 to 2019-12-31"),
    ],
)
def test_dates_that_are_not_there_are_said_in_words(tmp_path: Path, fields: dict[str, Any], part: str) -> None:
    assert part in refusal(write(tmp_path, TEXT), replace_fields(WIDE, **fields))


def test_a_folder_must_hold_one_file(tmp_path: Path) -> None:
    assert "holds no file" in refusal(tmp_path)
    write(tmp_path, TEXT)
    write(tmp_path, "x", ".hidden")
    assert load_panel(tmp_path, WIDE).symbols == ("AAA", "BBB", "C.C")
    write(tmp_path, TEXT, "other.csv")
    assert "holds 2 files (other.csv, panel.csv)" in refusal(tmp_path)
    assert "There is no data file" in refusal(tmp_path / "missing")


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = write(tmp_path, gzip.compress(b"Date,AAA\n" + b"2020-01-01,1\n" * 100_000), "bomb.csv.gz")
    assert bomb.stat().st_size < 10_000
    monkeypatch.setattr(tables, "MAX_BYTES", 100_000)
    assert "holds more than 100000 bytes" in refusal(bomb)
    pa_parquet.write_table(
        pa.table({"Date": pa.array(["2020-01-01"] * 50_000), "AAA": pa.array([1.0] * 50_000)}),
        tmp_path / "bomb.parquet",
    )
    assert (tmp_path / "bomb.parquet").stat().st_size < 10_000
    assert "holds more than 100000 bytes" in refusal(tmp_path / "bomb.parquet")


def experiment(**fields: Any) -> Experiment:
    return Experiment(name="x", data=WIDE, features=("ret_1d",), targets=("fwd_ret_1d",), families={}, **fields)


def test_an_experiment_must_fit_the_panel(tmp_path: Path) -> None:
    panel = load_panel(write(tmp_path, TEXT), WIDE)
    check_panel(panel, experiment())
    check_panel(panel, experiment(views=(View.SYMBOL_SPECIFIC,), symbol_specific=("AAA",)))
    with pytest.raises(UsageError, match="no symbol 'AAB', which symbol_specific names") as caught:
        check_panel(panel, experiment(views=(View.SYMBOL_SPECIFIC,), symbol_specific=("AAB",)))
    assert "`--symbols AAA,BBB,C.C` picks both" in str(caught.value.hint)
    alone = Panel(panel.dates, ("AAA",), {"close": panel.prices[:, :1]}, "close")
    check_panel(alone, experiment(views=(View.SYMBOL_SPECIFIC,), symbol_specific=("AAA",)))
    with pytest.raises(UsageError, match="CROSS_SECTIONAL needs at least two"):
        check_panel(alone, experiment())


def test_notes_are_in_no_digest(tmp_path: Path) -> None:
    panel = load_panel(write(tmp_path, TEXT), WIDE)
    assert dataset_signature(replace(panel, notes=("something",))) == dataset_signature(panel)


@pytest.mark.skipif(REAL is None, reason="HARNESS_TEST_PANEL does not name the S&P 500 panel")
def test_the_real_panel_is_read_whole(tmp_path: Path) -> None:
    panel = load_panel(Path(str(REAL)), WIDE)
    assert panel.prices.shape == (8313, 20)
    assert not np.isnan(panel.prices).any()
    assert (date_text(panel.dates[0]), date_text(panel.dates[-1])) == ("1990-01-02", "2022-12-28")
    parquet = tmp_path / "panel.parquet"
    columns = {symbol: panel.prices[:, place] for place, symbol in enumerate(panel.symbols)}
    pa_parquet.write_table(pa.table({"Date": pa.array(panel.dates.astype("datetime64[D]")), **columns}), parquet)
    assert dataset_signature(load_panel(parquet, WIDE)) == dataset_signature(panel)
