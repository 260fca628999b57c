"""The sweep across CPUs in its short form, and the tool that makes the table of operators (tests/cross_cpu)."""

import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tests.cross_cpu import __main__ as tool  # noqa: E402
from tests.cross_cpu import coverage, cpus, forget, kinds, pointwise, records, sources, sweep, table, worker  # noqa: E402
from tests.cross_cpu.digests import digest  # noqa: E402
from tests.cross_cpu.groups import Call, Group  # noqa: E402
from tests.cross_cpu.recorder import Recorder  # noqa: E402
from tests.cross_cpu.sections import SECTIONS  # noqa: E402

emulated = pytest.mark.needs(cpus.EMULATOR)
wide = pytest.mark.skipif("avx512f" not in Path("/proc/cpuinfo").read_text(), reason="this CPU has no AVX-512")
EMULATED = "Haswell"


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The short form's records with some settings on a CPU, each run once."""
    folder = tmp_path_factory.mktemp("records")

    def record(settings: str, cpu: str) -> records.Record:
        part = sweep.Part("short", cpu, settings)
        if not part.file(folder).exists():
            assert sweep.run([part], minutes=5, folder=folder) == []
        return records.read([part.file(folder)])

    return record


@emulated
def test_operators_and_a_fit_have_the_same_bits_on_this_cpu_and_on_an_emulated_one(short):
    here, there = short("x86-64-v3", cpus.NATIVE), short("x86-64-v3", EMULATED)
    assert set(here.groups.values()) == set(there.groups.values()) == {"ended"}
    assert records.differing_cases(here.cases, there.cases) == []
    differences = records.compare(here.calls, there.calls)
    assert records.culprits(differences) == []
    assert {row.unmatched for row in differences} == {0}
    assert {"aten::mm", "aten::sqrt", "aten::convolution", "aten::_softmax"} <= {row.operator for row in differences}
    assert len(differences) > 50
    for fit in ("mlp AdamW", "lightgbm", "xgboost"):
        cases = {name for name in here.cases if name.startswith(f"short: {fit}/")}
        assert cases
        assert cases <= there.cases.keys()


@emulated
@wide
def test_without_the_profile_the_same_sweep_finds_roots_and_products_different(short):
    found = records.culprits(records.compare(short("bare", cpus.NATIVE).calls, short("bare", EMULATED).calls))
    assert {"aten::sqrt", "aten::mm"} <= set(found)


def calls(function) -> dict[str, dict[str, set[str]]]:
    with Recorder() as recorder:
        function()
    found: dict[str, dict[str, set[str]]] = {}
    for call in recorder.take():
        found.setdefault(call.operator, {}).setdefault(call.inputs, set()).add(call.outputs)
    return found


def step(x, weight) -> None:
    ((x @ weight).tanh() ** 2).sum().backward()


def test_an_operator_that_gives_something_else_is_named_and_what_follows_it_is_not():
    inputs = torch.ones(3, 4), torch.full((4, 2), 0.3, requires_grad=True)
    plain = calls(partial(step, *inputs))
    library = torch.library.Library("aten", "IMPL")
    library.impl("tanh", lambda x: torch.nextafter(torch.sigmoid(2 * x) * 2 - 1, torch.tensor(9.0)), "CPU")
    try:
        planted = calls(partial(step, *inputs))
    finally:
        library._destroy()
    differences = records.compare(plain, planted)
    assert records.culprits(differences) == ["aten::tanh"]
    assert any(row.unmatched for row in differences if row.operator == "aten::sum" or row.operator == "aten::pow")
    assert records.culprits(records.compare(plain, calls(partial(step, *inputs)))) == []


def test_the_gradients_operators_are_recorded_too():
    weight = torch.full((4, 2), 0.3, requires_grad=True)
    assert "aten::tanh_backward" in calls(partial(step, torch.ones(3, 4), weight))


def test_a_random_operator_counts_with_the_state_that_it_drew_from():
    torch.manual_seed(1)
    first = calls(lambda: torch.empty(5).uniform_())["aten::uniform_"]
    second = calls(lambda: torch.empty(5).uniform_())["aten::uniform_"]
    torch.manual_seed(1)
    assert first.keys() != second.keys()
    assert calls(lambda: torch.empty(5).uniform_()) == {"aten::uniform_": first}


def test_memory_that_nobody_wrote_is_no_result():
    assert calls(lambda: torch.empty(5)) == {}


def test_a_digest_tells_every_bit_stride_and_type_apart():
    numbers = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    flipped = numbers.clone()
    flipped.view(torch.int32)[1, 2] ^= 1
    values = [numbers, flipped, numbers.double(), numbers.t().contiguous().t(), numbers.to(torch.bfloat16), -0.0, 0.0]
    values += [0, False, None, "0", torch.tensor(0.0), torch.tensor(-0.0), [1, 2], [[1], 2], numbers.to_sparse()]
    assert len({digest(value) for value in values}) == len(values)
    assert digest(numbers) == digest(numbers.clone())
    nan = torch.tensor([float("nan")])
    assert digest(nan) == digest(-nan)
    assert digest(nan) != digest(torch.tensor([float("inf")]))


def test_a_group_that_crashes_or_never_ends_is_noted_and_the_others_run(tmp_path):
    file = tmp_path / "records.jsonl"
    file.touch()
    groups = [
        Group("crash", lambda emit: (faulthandler.disable(), os.kill(os.getpid(), signal.SIGSEGV))),
        Group("fine", lambda emit: emit("0", [Call("aten::x", "1", "2", False)], "3")),
        Group("forever", lambda emit: time.sleep(60)),
        Group("wrong", lambda emit: 1 / 0),
    ]
    limit = time.monotonic() + 60
    for _ in range(len(groups)):
        done = worker.ended_groups(file)
        if left := [group for group in groups if group.name not in done]:
            worker.run_apart(left, file, 1, limit)
    found = records.read([file], {})
    assert found.groups == {
        "crash": f"ended by code -{int(signal.SIGSEGV)}",
        "fine": "ended",
        "forever": "stopped at its time limit",
        "wrong": "raised ZeroDivisionError: division by zero",
    }
    assert found.cases == {"fine/0": "3"}
    assert found.calls == {"aten::x": {"1": {"2"}}}


def record(results: dict[str, str], **changes) -> records.Record:
    small = {f"aten::{name}": {"in": {outputs}} for name, outputs in results.items()}
    return records.Record(small, {}, {}, {}, [], [{"replaced": changes.get("replaced", "")}], [])


def test_portable_is_what_every_emulated_cpu_ran_and_agrees_upon():
    native = record({"exp": "1", "sqrt": "1", "atan": "1", "rare": "1", "lone": "1"}, replaced="aten::sqrt")
    same = record({"exp": "1", "sqrt": "1", "atan": "1", "rare": "1"})
    others = {
        "Haswell": same,
        "Skylake-Client": record({"exp": "1", "sqrt": "1", "atan": "2", "rare": "1"}),
        "EPYC": record({"exp": "1", "sqrt": "1", "atan": "1"}),
    }
    found = table.verdicts(native, others, without=["aten::sqrt"])
    assert {name.removeprefix("aten::"): verdict.cpus for name, verdict in found.items()} == {
        "exp": "portable", "sqrt": "fixed", "atan": "refused", "rare": "untested", "lone": "untested",
    }  # fmt: skip
    assert "Skylake-Client" in found["aten::atan"].note
    assert found["aten::rare"].on == ("Haswell", "Skylake-Client")


def test_what_differs_with_two_threads_on_an_emulated_cpu_is_refused():
    one, same, other = (record({"mm": outputs}) for outputs in ("1", "1", "2"))
    others = dict.fromkeys(cpus.EMULATED, same)
    assert table.verdicts(one, others, more={"Haswell with two threads": (one, same)})["aten::mm"].cpus == "portable"
    found = table.verdicts(one, others, more={"Haswell with two threads": (one, other)})["aten::mm"]
    assert (found.cpus, found.note) == ("refused", "differs between this CPU and Haswell with two threads")


def test_an_operator_in_place_counts_with_its_plain_form():
    native = record({"exp": "1", "exp_": "3"})
    others = dict.fromkeys(cpus.EMULATED, record({"exp": "1"}))
    assert table.verdicts(native, others)["aten::exp_"].cpus == "portable"
    others["EPYC"] = record({"exp": "1", "exp_": "4"})
    assert table.verdicts(native, others)["aten::exp_"].cpus == "refused"


def verdict(cpus: str, *on: str, note: str = "", threads: str = "untested") -> table.Verdict:
    return table.Verdict(cpus, threads, on, len(on), note)


def test_nothing_stays_untested_and_what_computes_and_was_not_shown_is_refused():
    shown = {
        "aten::mm": verdict("portable", *cpus.EMULATED),
        "aten::exp": verdict("portable", *cpus.EMULATED),
        "aten::exp_": verdict("portable", *cpus.EMULATED),
        "aten::flip": verdict("untested"),
        "aten::index_fill_": verdict("untested"),
        "aten::lgamma": verdict("untested"),
        "aten::std": verdict("untested", "EPYC", "Haswell"),
        "aten::sqrt": verdict("fixed", *cpus.EMULATED),
        "aten::tan": verdict("refused", "EPYC", note="differs"),
    }
    found = table.settle(shown, thin={"aten::exp"})
    assert {name.removeprefix("aten::"): (row.cpus, row.note) for name, row in found.items()} == {
        "mm": ("portable", ""),
        "exp": ("refused", table.NOT_SHOWN),
        "exp_": ("refused", table.NOT_SHOWN),
        "flip": ("portable", table.BY_KIND),
        "index_fill_": ("portable", table.BY_KIND),
        "lgamma": ("refused", table.NOT_SHOWN),
        "std": ("portable", "the same on EPYC and Haswell, not run on the others"),
        "sqrt": ("fixed", ""),
        "tan": ("refused", "differs"),
    }


def test_a_pointwise_operator_is_thin_until_both_types_ran_on_thousands_of_numbers():
    groups = {"pointwise: exp/float32": "ended", "pointwise: exp/float64": "ended", "pointwise: sin/float32": "ended"}
    groups["pointwise: sin/float64"] = "stopped at its time limit"
    ran = records.Record({}, {}, {}, groups, [], [], [])
    assert table.thin_operators(["aten::exp", "aten::sin", "aten::cos"], ran) == {"aten::sin", "aten::cos"}


def test_pointwise_operators_get_thousands_of_numbers_spread_over_their_domain():
    assert {"aten::exp", "aten::erfinv", "aten::lgamma", "aten::pow", "aten::acos"} <= set(pointwise.operators())
    for dtype in pointwise.DTYPES:
        given = pointwise.domains(dtype, 1)
        assert all(numbers.numel() > 8192 and numbers.dtype is dtype for numbers in given.values())
        assert given["positive"].min() > 0
        assert given["unit"].abs().max() <= 1
        assert given["spread"].abs().max() > 2**18


def test_operators_that_move_data_are_torchs_own_and_compute_nothing():
    known = {name.partition(".")[0].removeprefix("aten::") for name in torch._C._dispatch_get_all_op_names()}
    assert known >= kinds.MOVING
    assert kinds.moves("aten::index_fill_")
    for name in ("add", "mul", "exp", "sum", "mm", "div_", "lerp", "cumsum", "mean", "scatter_add", "rand"):
        assert not kinds.moves(f"aten::{name}")


@pytest.mark.parametrize("name", ["sqrt", "pow", "tan"])
def test_pointwise_operators_get_whole_numbers_and_booleans_too(name):
    assert f"pointwise: {name}/int64" in {group.name for group in SECTIONS["pointwise"](1)}
    first = pointwise.whole_domains()[0]
    assert torch.equal(first["whole"], torch.arange(1, 10_001))
    assert first["booleans"].dtype is torch.bool
    assert set(first["signs"].tolist()) == {-1, 0, 1}


def test_every_operator_that_torch_has_a_kernel_of_is_in_the_table_or_moves_data_alone():
    committed = json.loads(table.OPERATORS.read_text())["operators"]
    known = {*committed, "aten::mkldnn_rnn_layer"}  # this one is ours: it is taken apart before its kernel is reached
    names = coverage.own_kernels()
    assert len(names) > 500
    assert not [name for name in names if not kinds.moves(name) and not {name, name.removesuffix("_")} & known]


def test_every_operator_with_a_derivative_was_run_but_for_a_few_with_a_reason():
    committed = json.loads(table.OPERATORS.read_text())["operators"]
    assert {"aten::nll_loss2d_forward", "aten::_weight_norm_interface", "aten::mm"} <= coverage.differentiable()
    reached = {name for name, entry in committed.items() if entry.get("note") != table.NOT_REACHED}
    # Composite operators have no kernel of their own: what they are made of is looked at instead.
    left = {name for name in coverage.differentiable() & coverage.own_kernels() if not kinds.moves(name)}
    assert {name for name in left if not {name, name.removesuffix("_")} & reached} == coverage.EXCEPTIONS.keys()


def test_what_no_part_of_the_sweep_calls_is_refused_and_what_moves_data_is_not():
    found = table.settle(
        {"aten::exp": verdict("portable", *cpus.EMULATED)}, own=["aten::exp", "aten::exp_", "aten::flip", "aten::rare"]
    )
    assert {name: (row.cpus, row.note) for name, row in found.items()} == {
        "aten::exp": ("portable", ""), "aten::rare": ("refused", table.NOT_REACHED),
    }  # fmt: skip


def outcome(**changes) -> table.Outcome:
    """What a sweep left: an operator, a fit, a probe and a function of NumPy, the same everywhere but for `changes`.

    They are by CPU: cases and calls of that CPU that are others.
    """
    made = {}
    for cpu in (cpus.NATIVE, *cpus.EMULATED):
        calls = {"aten::exp": "1", "numpy::sin": "1", "numpy::tanh": "1", "probe::xgboost": "1"}
        cases = {"fits: lightgbm/huber gbdt": "1"}
        for name, value in changes.get(cpu.partition("-")[0], {}).items():
            (cases if "/" in name else calls)[name] = value
        small = {name: {"in": {value}} for name, value in calls.items() if value}
        made[cpu] = records.Record(small, {}, cases, {"fits: lightgbm": "ended"}, [], [{}], [])
    native = made.pop(cpus.NATIVE)
    shown = table.verdicts(native, made)
    return table.Outcome(native, made, {}, shown, table.settle(shown), [])


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({}, 0, "0 results worse"),
        ({"Haswell": {"fits: lightgbm/huber gbdt": "2"}}, 1, "fits: lightgbm differs on Haswell"),
        ({"EPYC": {"probe::xgboost": "2"}}, 1, "probe::xgboost differs on EPYC"),
        ({"Skylake": {"numpy::sin": "2"}}, 1, "numpy::sin differs on Skylake-Client"),
        ({"Skylake": {"numpy::tanh": "2"}}, 0, "0 results worse"),
        ({"EPYC": {"aten::exp": "2"}}, 1, "aten::exp: portable, now: differs between this CPU and EPYC"),
        ({"EPYC": {"aten::exp": ""}}, 3, "nothing was compared on EPYC"),
    ],
)
def test_a_sweep_fails_where_a_fit_a_probe_or_numpy_differs_and_where_a_cpu_compared_nothing(
    capsys, changes, code, said
):
    assert tool.judge(outcome(**changes), [], cpus.EMULATED) == code
    assert said in capsys.readouterr().out


def test_a_sweep_fails_where_a_process_failed_and_not_where_time_ran_out():
    late, failed = sweep.Problem("fits on EPYC: not finished in time", False), sweep.Problem("fits on EPYC ended", True)
    assert tool.judge(outcome(), [late], cpus.EMULATED) == 0
    assert tool.judge(outcome(), [late, failed], cpus.EMULATED) == 1
    assert tool.judge(outcome(EPYC={"aten::exp": ""}), [], ["Haswell"]) == 0


def test_fits_with_two_threads_count_too(capsys):
    good = outcome()
    there = good.native._replace(cases={"fits: lightgbm/huber gbdt": "2"})
    assert tool.judge(good._replace(two={"Haswell": (good.native, there)}), [], cpus.EMULATED) == 1
    assert "fits: lightgbm differs on Haswell" in capsys.readouterr().out


def test_a_check_fails_where_a_verdict_is_worse_and_not_where_something_did_not_run():
    committed = {
        "aten::mm": {"cpus": "portable", "threads": "invariant"},
        "aten::exp": {"cpus": "fixed", "threads": "invariant"},
        "aten::tan": {"cpus": "refused", "threads": "untested"},
    }
    quiet = {
        "aten::mm": verdict("untested", threads="invariant"),
        "aten::exp": verdict("portable", "EPYC", threads="untested"),
        "aten::tan": verdict("refused", "EPYC", note="differs"),
        "aten::new": verdict("portable", "EPYC", threads="dependent"),
    }
    assert table.worse(committed, quiet) == []
    bad = {"aten::mm": verdict("portable", threads="dependent"), "aten::exp": verdict("refused", note="differs here")}
    bad["aten::new"] = verdict("refused", note="differs too")
    assert table.worse(committed, bad) == [
        "aten::exp: fixed, now: differs here",
        "aten::mm: one thread and two gave the same, and now something else",
        "aten::new: not in the table, now: differs too",
    ]


def test_an_operator_depends_on_threads_where_one_pair_says_so():
    one = records.Record({}, {"aten::sum": {"a": {"1"}}, "aten::add": {"b": {"1"}}}, {}, {}, [], [], [])
    two = records.Record({}, {"aten::sum": {"a": {"2"}}, "aten::add": {"b": {"1"}}}, {}, {}, [], [], [])
    assert table.thread_verdicts([(one, one), (one, two)]) == {"aten::sum": "dependent", "aten::add": "invariant"}


MINE = {"cpu": "mine", "torch": "2", "version": "1", "kernels": "k", "groups": {"a": "1", "b": "3", "c": "4"}}


@pytest.mark.parametrize(
    ("theirs", "code"),
    [
        ({"groups": {"a": "1", "b": "2"}}, 1),
        ({"groups": {"a": "1", "d": "2"}}, 0),
        ({"groups": {"d": "2"}}, 3),
        ({"groups": {"a": "1"}, "kernels": "others"}, 0),
        ({"version": "2"}, 3),
        ({"torch": "3"}, 3),
        ({"numpy": "1.26.4"}, 3),
        ({"xgboost": "2"}, 3),
    ],
)
def test_the_next_real_cpu_is_held_against_those_seen_and_comparing_nothing_is_no_success(
    tmp_path, capsys, theirs, code
):
    assert tool.hold(MINE, tmp_path) == 3
    (tmp_path / "theirs.json").write_text(json.dumps({**MINE, "cpu": "theirs", **theirs}))
    assert tool.hold(MINE, tmp_path) == code
    assert ("different: b" in capsys.readouterr().out) == (code == 1)


def written(file: Path, case: str, **start) -> Path:
    with file.open("a") as lines:
        made = {**sources.kernels(), **sources.libraries(), **start}
        lines.write(json.dumps({"start": made}, separators=(",", ":")) + "\n")
        lines.write(json.dumps({"case": case, "calls": [], "result": "1"}) + "\n")
    return file


def recorded(file: Path, results: dict[str, str], *, whole: str = "fits") -> Path:
    file.parent.mkdir(exist_ok=True)
    entries: list[dict] = [{"start": {}}]
    for case, result in results.items():
        group = case.rpartition("/")[0]
        entries += [{"begin": group}, {"case": case, "calls": [["aten::mm", "1", result, True]], "result": result}]
        entries += [{"end": group, "how": "ended", "seconds": 1.0}]
    entries += [{"whole": f"{whole} 0/1"}, {"whole": "pointwise 0/1"}]
    file.write_text("\n\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries) + '\n{"torn')
    return file


def test_what_a_changed_kernel_moved_is_forgotten_and_nothing_else(tmp_path):
    before = recorded(tmp_path / "before.jsonl", {"fits: a/1": "1", "fits: b/1": "1", "sizes: c/1": "1", "gone/1": "1"})
    now = recorded(tmp_path / "now.jsonl", {"fits: a/1": "1", "fits: b/1": "2", "sizes: c/1": "1", "new/1": "1"})
    moved = forget.moved_groups([before], [now])
    assert moved == {"fits: b"}
    other = recorded(
        tmp_path / "other.jsonl", {"fits: a/1": "1", "fits: b/1": "1", "fits: b/2": "1", "sizes: c/1": "1"}
    )
    assert forget.forget(moved, other) == 1
    left = list(records.lines(other))
    assert worker.ended_groups(other) == {"fits: a", "sizes: c"}
    assert [entry["case"] for entry in left if "case" in entry] == ["fits: a/1", "sizes: c/1"]
    assert [entry["whole"] for entry in left if "whole" in entry] == ["pointwise 0/1"]
    untouched = recorded(tmp_path / "untouched.jsonl", {"sizes: c/1": "1"})
    text = untouched.read_text()
    assert forget.forget(moved, untouched) == 0
    assert untouched.read_text() == text


def test_forgetting_spares_this_cpus_own_new_records(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, "FOLDER", tmp_path)
    monkeypatch.setattr(sweep.Part.file, "__defaults__", (tmp_path,))
    before = recorded(tmp_path / "copy/fits.jsonl", {"fits: a/1": "1"}).parent
    mine = recorded(tmp_path / "x86-64-v3-native-1/fits.jsonl", {"fits: a/1": "2"})
    theirs = recorded(tmp_path / "x86-64-v3-Haswell-1/fits.jsonl", {"fits: a/1": "1"})
    monkeypatch.setattr(sys, "argv", ["cross_cpu", "forget", str(before)])
    assert tool.main() == 0
    assert capsys.readouterr().out.splitlines() == [
        "x86-64-v3-Haswell-1/fits.jsonl: 1 of them to run again", "1 groups moved: fits: a"
    ]  # fmt: skip
    assert (worker.ended_groups(mine), worker.ended_groups(theirs)) == ({"fits: a"}, set())


def test_records_of_other_kernels_are_in_no_table_and_are_never_gone_on_with(tmp_path):
    ours = written(tmp_path / "ours.jsonl", "g/ours")
    older = written(tmp_path / "older.jsonl", "g/older", version="0")
    numpy = written(tmp_path / "numpy.jsonl", "g/numpy", numpy="1.26.4")
    mixed = written(written(tmp_path / "mixed.jsonl", "g/first"), "g/second", version="0")
    written(ours, "g/ours, sources rearranged", kernels="others")
    found = records.read([ours, older, numpy, mixed])
    assert (set(found.cases), found.dropped) == ({"g/ours", "g/ours, sources rearranged"}, [older, numpy, mixed])
    now = {**sources.kernels(), **sources.libraries()}
    worker.begin(ours, now)
    assert set(records.read([ours]).cases) == {"g/ours", "g/ours, sources rearranged"}
    for file in (older, numpy):
        worker.begin(file, now)
        assert records.read([file]) == records.Record({}, {}, {}, {}, [], [now], [])


def test_the_digest_of_the_kernels_counts_what_they_compute_and_not_what_is_said_of_it(tmp_path):
    kernel = '"""A kernel."""\ndef f(x):\n    """Twice."""\n    return 2 * x  # fast\n'
    said_otherwise = '"""Ours."""\n\n\ndef f(x):\n    return (2 * x)\n'
    digests = []
    for name, text in (("a", kernel), ("b", said_otherwise), ("c", kernel.replace("2 * x", "3 * x"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f.py").write_text(text)
        (tmp_path / name / "refused.py").write_text(name)
        digests.append(sources.digest_sources(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]


def test_the_kernels_are_those_that_the_committed_table_was_made_with():
    # Where this fails: if a bit of a result may have changed, raise harness/strict/kernels/version.py and sweep again;
    # else write the new digest into operators.json (`python -m tests.cross_cpu table` does).
    assert json.loads(table.OPERATORS.read_text())["kernels"] == sources.kernels()


def test_no_two_groups_of_the_sweep_have_the_same_name():
    names = [group.name for section in SECTIONS.values() for group in section(1)]
    assert len(names) == len(set(names))
    assert {name.partition(": ")[0] for name in names} == SECTIONS.keys()


def test_where_time_is_short_few_groups_meet_every_operator_that_computes_and_the_rest_comes_after():
    met = {
        "fits: a": {"aten::mm"},
        "float32: few": {"aten::exp"},
        "float32: many": {"aten::exp", "aten::std", "aten::mm"},
        "float32: moves": {"aten::flip"},
        "float32: other": {"aten::lgamma", "aten::std"},
        "float64: product": {"aten::mm"},
    }
    assert worker.cover(met, "float32: ") == ["float32: many", "float32: other"]
    assert worker.cover(met, "float64: ") == ["float64: product"]
    groups = [Group(name, lambda emit: None) for name in ("arrays: x", *sorted(met, reverse=True))]
    assert [group.name for group in worker.order(groups, met)] == [
        "fits: a", "float32: many", "float32: other", "float64: product", "float32: moves", "float32: few", "arrays: x",
    ]  # fmt: skip


def test_the_committed_table_is_of_the_installed_torch_and_knows_what_training_stands_on():
    committed = json.loads(table.OPERATORS.read_text())
    assert committed["schema"] == "harness.operators/1"
    assert {name: committed[name] for name in sources.LIBRARIES} == sources.libraries()
    operators = committed["operators"]
    assert list(operators) == sorted(operators)
    assert {entry["cpus"] for entry in operators.values()} <= {"portable", "fixed", "refused"}
    assert {entry["threads"] for entry in operators.values()} <= {"invariant", "dependent", "untested"}
    known = {name.partition(".")[0] for name in torch._C._dispatch_get_all_op_names()}
    assert operators.keys() <= known
    common = "mm addmm bmm sqrt exp log sum mean std var prod argmax amin softplus lgamma all huber_loss _fused_adamw_"
    assert not [name for name in common.split() if operators[f"aten::{name}"]["cpus"] == "refused"]


REFUSED = """
import json, sys
from harness.strict.kernels import installation
refused = {"cpus": "refused", "threads": "invariant", "note": "planted"}
names = ["aten::erfinv", "aten::linspace", "aten::cosh"]
installation.read_table = lambda: installation.Table({}, dict.fromkeys(names, refused))
import torch
torch.erf(torch.ones(3))
assert torch.linspace(0, 4, 5, dtype=torch.int64).tolist() == [0, 1, 2, 3, 4]
calls = [
    lambda: torch.erfinv(torch.zeros(3)),
    lambda: torch.linspace(0, 1, 5),
    lambda: torch.linspace(0, 4, 5, dtype=torch.float64),
    lambda: torch.cosh(torch.ones(3, dtype=torch.int64)),
    lambda: torch.zeros(3).cosh_(),
]
for call in calls:
    try:
        call()
    except RuntimeError as error:
        print(str(error).splitlines()[0])
"""


PLANTED = ("erfinv", "linspace", "linspace", "cosh", "cosh")


def test_a_planted_refused_operator_raises_with_its_name_and_so_do_those_that_make_numbers_of_none(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", REFUSED], env=cpus.environment("x86-64-v3"), cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == [f"aten::{name}" for name in PLANTED]
    assert all("is refused under the profile x86-64-v3" in line and "(planted)" in line for line in lines)


def test_every_part_of_the_sweep_is_for_this_cpu_first():
    parts = list(sweep.parts_of(["fits", "sizes"], ["EPYC", "native", "Haswell"], "x86-64-v3", 1))
    assert [(part.section, part.cpu) for part in parts[:3]] == [
        ("fits", "native"), ("fits", "EPYC"), ("fits", "Haswell"),
    ]  # fmt: skip
