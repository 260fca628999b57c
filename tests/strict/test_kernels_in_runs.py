"""What the kernels are in a run: where they apply, what is recorded, what is refused, what is noticed."""

import json
from importlib.metadata import version

import pytest

from harness.errors import IntegrityError, PrerequisiteError
from harness.spec.processor import X86_64_V3, missing_features, processor_facts
from harness.strict import environment
from harness.strict.verify import verify_torch_kernels

CHAINS = """
import sys, torch, numpy

def chains(a, b):  # numbers long enough that a product and a sum are rounded once
    left, right = (one.resolve_neg().numpy().astype(numpy.longdouble) for one in (a, b))
    product = numpy.zeros((len(a), b.shape[1]), "f4")
    for start in range(0, len(b), 1024):
        chain = numpy.zeros_like(product)
        for term in range(start, min(start + 1024, len(b))):
            chain = (left[:, term, None] * right[term] + chain).astype("f4")
        product = product + chain
    return torch.from_numpy(product)

torch.manual_seed(0)
"""

PRODUCT = f"""{CHAINS}
a, b = torch.randn(64, 300), torch.randn(300, 80)
c, d = a[:20], b[:, :20]
routed = torch.equal(a @ b, chains(a, b)) and numpy.array_equal(c @ d, c.numpy() @ d.numpy())
print(routed, hasattr(torch, "_harness_kernels"))
"""

V3 = {"profile": "x86-64-v3"}


def test_a_strict_portable_run_has_the_kernels_says_so_and_is_silent(launch, tmp_path):
    (tmp_path / "train.py").write_text(PRODUCT)
    completed = launch("--", "python", str(tmp_path / "train.py"), **V3)
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "True True\n", "")
    captured = json.loads((tmp_path / "output" / "environment.json").read_text())
    dispatch = captured["cpu"]["dispatch"]
    assert {name: dispatch[f"torch/{name}"] for name in ("products", "sqrt", "lstm", "attention", "mkl")} == {
        "products": "onednn, openblas", "sqrt": "numpy", "lstm": "steps", "attention": "products", "mkl": "COMPATIBLE"
    }  # fmt: skip


LAYOUTS = f"""{CHAINS}
layouts = {{
    "rows": torch.randn,
    "columns": lambda rows, columns: torch.randn(columns, rows).t(),
    "rows with gaps": lambda rows, columns: torch.randn(rows, columns + 5)[:, 2 : 2 + columns],
    "columns with gaps": lambda rows, columns: torch.randn(columns, rows + 3)[:, :rows].t(),
    "every other": lambda rows, columns: torch.randn(rows, 2 * columns)[:, ::2],
    "one row": lambda rows, columns: torch.randn(1, columns).expand(rows, columns),
    "negated": lambda rows, columns: torch._neg_view(torch.randn(rows, columns)),
}}
for rows, inner, columns in ((65, 130, 33), (600, 1, 600), (2, 1025, 400), (300, 1024, 3), (17, 2055, 10)):
    for first in layouts:
        for second in layouts:
            a, b = layouts[first](rows, inner), layouts[second](inner, columns)
            product = a @ b
            print(torch.equal(product, chains(a, b)) and product.is_contiguous())
"""


def test_large_products_of_float32_are_chains_of_fused_multiply_adds_however_they_lie(script):
    assert script(LAYOUTS, **V3).stdout.split() == ["True"] * 5 * 7 * 7


SETTINGS = f"""{CHAINS}
a, b = torch.randn(129, 700), torch.randn(700, 65)
wanted = chains(a, b)
for count in (1, 2, 3):
    torch.set_num_threads(count)
    print(torch.equal(a @ b, wanted))
torch.set_float32_matmul_precision("medium")
print(torch.equal(a @ b, wanted))
with torch.backends.mkldnn.flags(enabled=False):
    print(torch.equal(a @ b, wanted))
for a, b in ((a[:1], b), (torch.randn(600, 1000), torch.randn(1000, 1)), (a[:20], b[:, :11])):
    print(torch.equal(a @ b, chains(a, b)), numpy.array_equal(a @ b, a.numpy() @ b.numpy()))
"""


def test_threads_and_precisions_move_no_bit_of_them_and_others_are_openblas(script):
    completed = script(SETTINGS, **V3)
    assert completed.stdout.split() == ["True"] * 5 + ["False", "True"] * 3


def test_best_effort_is_left_alone_with_the_same_caps(script):
    assert script(PRODUCT, mode="best_effort", **V3).stdout == "False False\n"


def test_under_native_torch_keeps_its_own_kernels(launch, tmp_path):
    (tmp_path / "train.py").write_text(PRODUCT)
    completed = launch("--", "python", str(tmp_path / "train.py"))
    assert (completed.stdout.split()[1], completed.stderr) == ("False", "")
    captured = json.loads((tmp_path / "output" / "environment.json").read_text())
    assert not {"torch/products", "torch/sqrt"} & captured["cpu"]["dispatch"].keys()


def test_a_program_that_registers_kernels_in_their_place_is_not_kept(launch, tmp_path):
    (tmp_path / "train.py").write_text(
        "import torch\nl = torch.library.Library('aten', 'IMPL', 'CPU')\nl.impl('mm', lambda a, b: a, 'CPU')\n"
    )
    completed = launch("--", "python", str(tmp_path / "train.py"), **V3)
    assert completed.returncode == 4
    assert "in place of strict's: aten::mm" in (tmp_path / "output" / "refused.txt").read_text()


def test_a_child_that_is_forked_has_the_kernels_too(script):
    fork = "import os\nif os.fork() == 0:\n    print(torch.equal(a @ b, a @ b), flush=True)\n    os._exit(0)\n"
    # What is printed before a fork and not flushed would be printed twice.
    completed = script(PRODUCT + "sys.stdout.flush()\n" + fork + "print(os.wait()[1])\n", **V3)
    assert sorted(completed.stdout.split()) == ["0", "True", "True", "True"]


REFUSING = """
import sys, torch
from harness.strict.kernels.refused import refuse_operators
table = {"aten::cumsum": {"cpus": "refused", "note": "made up"}, "aten::exp": {"cpus": "fixed"}}
refuse_operators(torch._harness_kernels, table)
x = torch.ones(3)
known = {"aten::cumprod": {"cpus": "refused"}, "aten::cumprod_": {"cpus": "portable"}}
refuse_operators(torch._harness_kernels, known)
x.clone().cumprod_(0)
for call in (lambda: torch.cumsum(x, 0), lambda: x.clone().cumsum_(0), lambda: torch.cumsum(x, 0, out=torch.ones(3)),
             lambda: torch.cumsum(x.clone().requires_grad_(), 0)):
    try:
        call()
        print("ran")
    except RuntimeError as error:
        print(type(error).__name__, str(error).split(" under")[0])
print(torch.cumsum(torch.ones(3, dtype=torch.int64), 0).tolist(), x.exp().shape)
"""


def test_a_refused_operator_raises_by_name_in_each_overload_and_whole_numbers_pass(script):
    lines = script(REFUSING, **V3).stdout.splitlines()
    assert lines[:4] == ["NotPortableError aten::cumsum is refused"] * 4
    assert lines[4] == "[1, 2, 3] torch.Size([3])"


@pytest.mark.parametrize("swept", [{"torch": "1.0"}, {"numpy": "1.0"}, {"torch": "1.0", "numpy": "1.1"}, {}])
def test_a_table_of_another_torch_or_numpy_is_said_once_and_one_of_another_schema_is_an_error(
    tmp_path, monkeypatch, capsys, swept
):
    torch = pytest.importorskip("torch")
    from harness.strict.kernels import installation, refused

    table = tmp_path / "operators.json"
    here = {"torch": torch.__version__, "numpy": version("numpy"), **swept}
    table.write_text(json.dumps({"schema": refused.SCHEMA, **here, "operators": {}}))
    monkeypatch.setattr(installation, "read_table", lambda: refused.read_table(table))
    try:
        installation.install(torch)
        installation.install(torch)
        said = capsys.readouterr().err
        assert said.count("was found out for") == bool(swept)
        assert all(f"{name} {value}" in said for name, value in swept.items())
        assert installation.selected(torch)["operators"] == here["torch"]
        verify_torch_kernels(torch)
        library = torch.library.Library("aten", "IMPL", "CPU")
        library.impl("mm", lambda self, mat2: self, "CPU")
        with pytest.raises(IntegrityError, match="aten::mm"):
            verify_torch_kernels(torch)
        library._destroy()
    finally:
        torch._harness_kernels.withdraw()
        del torch._harness_kernels, torch._harness_kernels_selected
    table.write_text("{}")
    with pytest.raises(ValueError, match="schema"):
        refused.read_table(table)
    assert refused.read_table(tmp_path / "none.json") == ({}, {})


def test_every_feature_of_the_level_is_asked_for_and_native_asks_for_nothing():
    for feature in X86_64_V3:
        assert missing_features("x86-64-v3", set(X86_64_V3) - {feature}, "x86_64") == [feature]
    assert missing_features("x86-64-v3", X86_64_V3, "x86_64") == []
    assert missing_features("native", (), "x86_64") == missing_features("native", (), "aarch64") == []
    assert missing_features("x86-64-v3", (), "aarch64") == ["x86-64 (this is aarch64)"]


def test_facts_are_those_of_the_first_processor(tmp_path):
    (tmp_path / "cpuinfo").write_text("vendor_id\t: A\nflags\t\t: avx fma\n\nvendor_id\t: B\n")
    assert processor_facts(tmp_path / "cpuinfo") == {"vendor_id": "A", "flags": "avx fma"}
    assert processor_facts(tmp_path / "none") == {}


def test_a_strict_run_on_a_processor_without_avx2_is_refused_and_best_effort_is_not(monkeypatch):
    monkeypatch.setattr(
        environment, "processor_facts", lambda: {"flags": "sse4_2 avx fma bmi1 bmi2 f16c abm movbe xsave"}
    )
    with pytest.raises(PrerequisiteError, match="x86-64-v3: it has no avx2"):
        environment.check_processor({"REPRO_MODE": "strict", "REPRO_PROFILE": "x86-64-v3"})
    environment.check_processor({"REPRO_MODE": "strict", "REPRO_PROFILE": "native"})
    environment.check_processor({"REPRO_MODE": "best_effort", "REPRO_PROFILE": "x86-64-v3"})
