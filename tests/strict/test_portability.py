"""The sweep across CPUs in its short form, and the tool that makes the table of operators (tests/cross_cpu)."""

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

from tests.cross_cpu import cpus, records, sweep, table, worker  # noqa: E402
from tests.cross_cpu.digests import digest  # noqa: E402
from tests.cross_cpu.groups import Call, Group  # noqa: E402
from tests.cross_cpu.recorder import Recorder  # noqa: E402

emulated = pytest.mark.skipif(cpus.emulator() is None, reason=f"{cpus.EMULATOR} is not installed (Debian: qemu-user)")
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
    assert {name for name in here.cases if name.startswith("mlp AdamW/step")} <= there.cases.keys()


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
        Group("crash", lambda emit: os.kill(os.getpid(), signal.SIGSEGV)),
        Group("fine", lambda emit: emit("0", [Call("aten::x", "1", "2", False)], "3")),
        Group("forever", lambda emit: time.sleep(60)),
        Group("wrong", lambda emit: 1 / 0),
    ]
    limit = time.monotonic() + 60
    for _ in range(len(groups)):
        done = worker.ended_groups(file)
        if left := [group for group in groups if group.name not in done]:
            worker.run_apart(left, file, 1, limit)
    found = records.read([file])
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
    return records.Record(small, {}, {}, {}, [], [{"replaced": changes.get("replaced", "")}])


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


def test_an_operator_depends_on_threads_where_one_pair_says_so():
    one = records.Record({}, {"aten::sum": {"a": {"1"}}, "aten::add": {"b": {"1"}}}, {}, {}, [], [])
    two = records.Record({}, {"aten::sum": {"a": {"2"}}, "aten::add": {"b": {"1"}}}, {}, {}, [], [])
    assert table.thread_verdicts([(one, one), (one, two)]) == {"aten::sum": "dependent", "aten::add": "invariant"}


def test_the_next_real_cpu_is_held_against_those_seen():
    assert table.differing_groups({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == ["b"]


def test_the_committed_table_is_of_the_installed_torch_and_knows_what_training_stands_on():
    committed = json.loads(table.OPERATORS.read_text())
    assert committed["schema"] == "harness.operators/1"
    assert committed["torch"] == torch.__version__
    operators = committed["operators"]
    assert list(operators) == sorted(operators)
    assert {entry["cpus"] for entry in operators.values()} <= {"portable", "fixed", "refused", "untested"}
    assert {entry["threads"] for entry in operators.values()} <= {"invariant", "dependent", "untested"}
    known = {name.partition(".")[0] for name in torch._C._dispatch_get_all_op_names()}
    assert operators.keys() <= known
    assert not [name for name in ("aten::mm", "aten::addmm", "aten::sqrt") if operators[name]["cpus"] == "refused"]


REFUSED = """
import json, sys
from harness.strict.kernels import installation
refused = {"cpus": "refused", "threads": "invariant", "note": "planted"}
installation.read_table = lambda: ("2", {"aten::erfinv": refused})
import torch
torch.erf(torch.ones(3))
try:
    torch.erfinv(torch.zeros(3))
except RuntimeError as error:
    print(error)
"""


def test_a_planted_refused_operator_raises_with_its_name(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", REFUSED], env=cpus.environment("x86-64-v3"), cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("aten::erfinv is refused under the profile x86-64-v3")


def test_every_part_of_the_sweep_is_for_this_cpu_first():
    parts = list(sweep.parts_of(["fits", "sizes"], ["EPYC", "native", "Haswell"], "x86-64-v3", 1))
    assert [(part.section, part.cpu) for part in parts[:3]] == [
        ("fits", "native"), ("fits", "EPYC"), ("fits", "Haswell"),
    ]  # fmt: skip
