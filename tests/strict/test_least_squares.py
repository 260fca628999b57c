"""`torch.linalg.lstsq` in strict runs: it repeats, is right without full rank, and is torch's own in all else."""

import json

import pytest

pytest.importorskip("torch")

PROFILES = ("native", "x86-64-v3")

# glibc writes the complement of what `mallopt` is given into whatever memory is asked of it: 0, and then 127.
DIRTIED = """
import ctypes, sys, torch
torch.utils.deterministic.fill_uninitialized_memory = False
torch.manual_seed(0)
for dtype in (torch.float32, torch.float64, torch.complex64):
    for rows, columns in ((257, 31), (20, 20), (5, 9)):
        a, b = torch.randn(2, rows, columns, dtype=dtype), torch.randn(2, rows, 3, dtype=dtype)
        a.requires_grad_()
        seen = set()
        for fill in (0xFF, 0x80, 0xFF):
            ctypes.CDLL(None).mallopt(-6, fill)
            solved = torch.linalg.lstsq(a, b)
            gradient = torch.autograd.grad(solved.solution.abs().sum(), a)[0]
            seen.add(b"".join(part.detach().resolve_conj().numpy().tobytes() for part in (*solved, gradient)))
        print(len(seen))
"""
KEPT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""glibc's cache of a thread would hand out memory as it was freed."""


@pytest.mark.parametrize("profile", PROFILES)
def test_it_repeats_whatever_lies_in_memory(script, profile):
    ended = script(DIRTIED, profile=profile, **KEPT)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["1"] * 9


def test_torchs_own_does_not(script):
    ended = script(DIRTIED, mode="best_effort", **KEPT)
    assert ended.returncode == 0, ended.stderr
    assert "2" in ended.stdout.split()


DEFICIENT = """
import json, torch
torch.manual_seed(0)
for dtype in (torch.float64, torch.complex128):
    a, b = torch.randn(3, 20, 6, dtype=dtype), torch.randn(3, 20, 2, dtype=dtype)
    a[1:, :, 0] = 0
    a[2, :, 3] = 2 * a[2, :, 2]
    for matrix, right in ((a, b), (a.mT.contiguous(), b[:, :6]), (a[2], b[2])):
        solved = torch.linalg.lstsq(matrix, right)
        wanted = torch.linalg.pinv(matrix) @ right
        print(json.dumps([torch.allclose(solved.solution, wanted), solved.rank.tolist(),
                          [list(part.shape) for part in solved[1:]]]))
"""


@pytest.mark.parametrize("profile", PROFILES)
def test_a_matrix_without_full_rank_is_solved_by_the_least_norm_and_its_rank_is_right(script, profile):
    ended = script(DEFICIENT, profile=profile)
    assert ended.returncode == 0, ended.stderr
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    batch, single = [True, [6, 5, 4], [[0], [3], [0]]], [True, 4, [[0], [], [0]]]
    assert answers == [batch, batch, single] * 2


def test_torchs_own_gets_a_batch_of_them_wrong(script):
    answers = [json.loads(line) for line in script(DEFICIENT, mode="best_effort").stdout.splitlines()]
    assert [False, [[0], [3], [0]]] in [[right, shapes] for right, _, shapes in answers]


DERIVED = """
import torch
torch.manual_seed(0)
a, b = torch.randn(2, 7, 4, dtype=torch.float64), torch.randn(2, 7, 3, dtype=torch.float64)
leaves = [a.requires_grad_(), b.requires_grad_()]
solve = lambda a, b: torch.linalg.lstsq(a, b).solution
print(torch.autograd.gradcheck(solve, leaves, check_forward_ad=True), torch.autograd.gradgradcheck(solve, leaves))
a, b = a.detach(), b.detach()
wanted = torch.linalg.lstsq(a, b, driver="gelsd")
out = [torch.empty(0, dtype=part.dtype) for part in wanted]
given = torch.linalg.lstsq(a, b, out=out)
print(torch.equal(given.solution, wanted.solution), given.solution.data_ptr() == out[0].data_ptr())
print(*(len(part) for part in out))
mapped = torch.func.vmap(solve)(a, b)
print(torch.allclose(mapped, wanted.solution), torch.equal(solve(torch._neg_view(a), b), -wanted.solution))
try:
    solve(a.to("meta"), b.to("meta"))
except NotImplementedError as error:
    print("Meta tensors" in str(error))
"""


def test_gradients_out_vmap_and_other_devices_are_torchs_own(script):
    ended = script(DERIVED)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["True True", "True True", "2 0 2 0", "True True", "True"]


NAMED = """
import torch
torch.manual_seed(0)
a, b = torch.randn(40, 8), torch.randn(40, 2)
for driver in ("gels", "gelsd", "gelss"):
    print([part.tolist() for part in torch.linalg.lstsq(a, b, driver=driver)])
for driver in ("gelsy", "GELSY", "of my own"):
    try:
        torch.linalg.lstsq(a, b, driver=driver)
    except RuntimeError as error:
        print(error)
"""


def test_a_driver_that_a_script_names_is_that_driver_or_refused_with_what_to_do(script):
    strict, plain = (script(NAMED, mode=mode).stdout.splitlines() for mode in ("strict", "best_effort"))
    assert strict[:3] == plain[:3]
    assert "driver='gelsy' is refused in a strict run" in strict[3]
    assert strict[4].endswith("'gels', where every matrix has full rank, is faster.")
    assert "driver='GELSY' is refused" in strict[5]
    assert strict[-1] == plain[-1]
    assert "gelsy" in plain[-1], "torch's own words name what it takes"


REPLACED = """
import torch
library = torch.library.Library("aten", "IMPL")
library.impl("linalg_lstsq.out", lambda *arguments, **named: None, "BackendSelect")
print("ran")
"""


def test_a_program_that_puts_another_kernel_in_its_place_is_not_strict(script, tmp_path):
    ended = script(REPLACED, HARNESS_OUTPUT=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (4, "ran\n")
    assert "in place of strict's: aten::linalg_lstsq.out" in (tmp_path / "refused.txt").read_text()
