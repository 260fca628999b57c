"""PyArrow under strict: one thread that computes, and rows in their order."""

import pytest

from harness.spec.variables import thread_counts

ARROW = """
import hashlib, sys
import numpy as np, pyarrow as pa, pyarrow.acero as acero, pyarrow.dataset as datasets, pyarrow.parquet as parquet
pa.set_cpu_count(4)
rng = np.random.default_rng(0)
table = pa.table({"k": rng.integers(0, 50, 400_000), "v": np.exp(6 * rng.normal(size=400_000))})
parts = [table.slice(start, 10_000) for start in range(0, table.num_rows, 10_000)]
for number, part in enumerate(parts):
    parquet.write_table(part, f"part{number:03}.parquet")
dataset = datasets.dataset([f"part{number:03}.parquet" for number in range(len(parts))])
scan = acero.Declaration("scan", acero.ScanNodeOptions(dataset))
total = acero.Declaration("aggregate", acero.AggregateNodeOptions([("v", "hash_sum", None, "v")], keys=["k"]))
def digest(table):
    return hashlib.sha256(b"".join(column.to_numpy().tobytes() for column in table.columns)).hexdigest()
for _ in range(5):
    print(digest(pa.concat_tables(parts).group_by("k").aggregate([("v", "sum")])))
for _ in range(5):
    print(digest(acero.Declaration.from_sequence([scan, total]).to_table()))
print(pa.cpu_count())
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_pyarrow_adds_groups_up_in_one_order_on_any_number_of_threads_and_is_told(script, tmp_path, threads):
    pytest.importorskip("pyarrow")
    changes = dict.fromkeys(("REPRO_THREADS", *sorted(thread_counts())), threads)
    kept = script(ARROW, HARNESS_OUTPUT=str(tmp_path), **changes)
    assert (kept.returncode, kept.stderr) == (0, "harness: strict: pyarrow.set_cpu_count stays 1, not 4\n")
    *digests, count = kept.stdout.split()
    assert (len(digests), len(set(digests)), count) == (10, 1, "1")


def test_without_strict_these_groups_show_the_threads_of_pyarrow(script):
    pytest.importorskip("pyarrow")
    *digests, count = script(ARROW, mode="best_effort").stdout.split()
    assert len(set(digests)) > 1
    assert count == "4"


def test_threads_of_pyarrow_that_were_set_behind_its_back_are_found_when_the_program_ends(script, tmp_path):
    pytest.importorskip("pyarrow")
    code = (
        "import ctypes, glob, os, pyarrow\n"
        "library = ctypes.CDLL(glob.glob(os.path.join(os.path.dirname(pyarrow.__file__), 'libarrow.so.*'))[0])\n"
        "status = ctypes.create_string_buffer(64)\n"
        "library._ZN5arrow24SetCpuThreadPoolCapacityEi(status, {})\nprint('ran')"
    )
    assert script(code.format(1), HARNESS_OUTPUT=str(tmp_path)).returncode == 0
    ended = script(code.format(3), HARNESS_OUTPUT=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (4, "ran\n")
    assert "PyArrow's number of threads is 3, not 1" in (tmp_path / "refused.txt").read_text()
