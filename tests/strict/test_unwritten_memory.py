"""Which of torch's operators read memory that nobody wrote: strict runs don't fill it, so none may."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="torch's database of operators needs it")

# Each sample of torch's own database, forwards and backwards, twice: glibc writes the complement of what `mallopt` is
# given into whatever memory is asked of it, 0 and then 127. What `empty` and its kin return is such memory.
SAMPLES = """
import ctypes, itertools, json, sys, warnings
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_leaves

warnings.simplefilter("ignore")
torch.utils.deterministic.fill_uninitialized_memory = False
NAMES, COUNT = sys.argv[1].split(), int(sys.argv[2])

def tensors(*values):
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]

def content(values):
    return [value.numpy(force=True).tobytes() if value.layout is torch.strided else str(value) for value in values]

def run(info, sample):
    torch.manual_seed(0)
    try:
        result = info(sample.input, *sample.args, **sample.kwargs)
        found = content(tensors(result))
        outputs = [value for value in tensors(sample.output_process_fn_grad(result)) if value.requires_grad]
        inputs = [value for value in tensors(sample.input, sample.args, sample.kwargs) if value.requires_grad]
        if outputs and inputs:
            ones = [torch.ones_like(output) for output in outputs]
            found += content(tensors(torch.autograd.grad(outputs, inputs, ones, allow_unused=True)))
    except Exception as error:
        return type(error).__name__
    return found

glibc, tried, raised, reading = ctypes.CDLL(None), 0, 0, set()
for info in op_db:
    if "empty" in info.name or (NAMES and info.name not in NAMES):
        continue
    for dtype in {torch.float32, torch.float64} & info.dtypes:
        gradient = info.supports_autograd and dtype in info.backward_dtypes
        for sample in itertools.islice(info.sample_inputs("cpu", dtype, requires_grad=gradient), COUNT):
            found = []
            for fill in (0xFF, 0x80):
                glibc.mallopt(-6, fill)
                found.append(run(info, sample))
            tried, raised = tried + 1, raised + isinstance(found[0], str)
            if found[0] != found[1]:
                reading.add(info.name)
print(json.dumps([sorted(reading), tried, raised]))
"""

KEPT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""glibc's cache of a thread would hand out memory as it was freed."""


@pytest.fixture
def sampled(start, variables, tmp_path):
    """Run the first samples of operators (of all, where none is named): who read such memory, and two counts."""

    def run(count: int, *names: str, **changes: str) -> list[object]:
        # A file: torch's database looks up the source of whoever draws a sample, which takes long for `python -c`.
        (tmp_path / "samples.py").write_text(SAMPLES)
        argv = ["samples.py", " ".join(names), str(count)]
        ended = start(argv, variables(**KEPT, **changes), tmp_path)
        assert ended.returncode == 0, ended.stderr
        found: list[object] = json.loads(ended.stdout)
        return found

    return run


def test_no_operator_reads_memory_that_nobody_wrote_forwards_or_backwards(sampled):
    reading, tried, raised = sampled(2)
    assert reading == []
    assert tried > 2000
    assert raised < tried / 25, "who raises has not been tried"


def test_without_strict_least_squares_does(sampled):
    assert sampled(4, "linalg.lstsq", "linalg.svd", mode="best_effort")[0] == ["linalg.lstsq"]
