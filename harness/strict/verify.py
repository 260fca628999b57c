"""A run checks that its settings took effect, because every one of these libraries ignores a misspelt one in silence.

Standard library only, but for `threadpoolctl`: without it thread counts can't be read, which is said, nor which kernels
an OpenBLAS chose, and there the profile `x86-64-v3` is refused.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from harness.errors import IntegrityError
from harness.spec.variables import thread_counts
from harness.strict import dispatch
from harness.strict.bootstrap import is_strict_mode

Check = tuple[str, str, str, str]
"""What a setting of a library is called, its variable, the wanted and the found value."""

_COUNTS = thread_counts()
_AVX512 = ("AVX512", "X86_V4")
_WITH_OPENBLAS = ("numpy", "scipy")  # of the libraries that are verified


def verify_settings(
    libraries: Sequence[str],
    environ: Mapping[str, str] | None = None,
    *,
    fewer: bool = False,
    pools: Callable[[], list[dispatch.Pool]] | None = None,
) -> None:
    """Check that the variables of this run took effect in each of `libraries` that is loaded.

    Threads are checked in strict mode, the caps of profile `x86-64-v3` in every mode. `environ` says mode, profile and
    threads where the process's own variables may have changed since it began. With `fewer` a library may have fewer
    threads than the run. `pools` finds the thread pools (`dispatch.pools` unless given).

    Raises:
        IntegrityError: one did not, and the message names library, setting, wanted and found; or what the profile
            `x86-64-v3` caps cannot be looked at.
    """
    checks = _checks(libraries, os.environ if environ is None else environ, pools or dispatch.pools)
    for what, variable, wanted, found in checks:
        if wanted != found and not (fewer and variable in _COUNTS and int(found) < int(wanted)):
            raise IntegrityError(
                f"{what} is {found}, not {wanted}: {variable} did not take effect",
                hint=f"Check that nothing changes {variable} or the library's own setting, before its import or later.",
            )


def verify_torch_switches(torch: Any) -> None:
    """Check that what keeps torch repeatable is still on; cuDNN's switches matter only where a GPU was used.

    Raises:
        IntegrityError: the program switched one off, in a way that could not be prevented.
    """
    wanted = {"are_deterministic_algorithms_enabled()": torch.are_deterministic_algorithms_enabled()}
    wanted[
        "not is_deterministic_algorithms_warn_only_enabled()"
    ] = not torch.is_deterministic_algorithms_warn_only_enabled()
    if torch.cuda.is_initialized():
        wanted["backends.cudnn.deterministic"] = torch.backends.cudnn.deterministic
        wanted["not backends.cudnn.benchmark"] = not torch.backends.cudnn.benchmark
    precision = getattr(torch._C, "_get_fp32_precision_getter", lambda *_: "none")  # torch before 2.9 has none
    for backend, what in product(("cuda", "mkldnn"), ("matmul", "conv", "rnn")):
        found = precision(backend, what)
        wanted[f"backends' fp32_precision ({backend}, {what}: {found!r}) == 'ieee'"] = found in ("none", "ieee")
    for switch, holds in wanted.items():
        if not holds:
            raise IntegrityError(
                f"the program changed a switch of torch without which it does not repeat: torch.{switch} is False",
                hint="Leave the switch as strict set it, or use REPRO_MODE=best_effort.",
            )


def verify_torch_kernels(torch: Any) -> None:
    """Check that the kernels that strict put into torch are still those that torch calls.

    Raises:
        IntegrityError: the program registered others in their place.
    """
    # Whoever put kernels in has loaded them; a forked process imports nothing at its end.
    modules = [sys.modules.get(f"harness.strict.{name}") for name in ("kernels.installation", "least_squares")]
    if changed := [operator for module in modules if module for operator in module.replaced_since(torch)]:
        raise IntegrityError(
            f"the program registered kernels of its own with torch in place of strict's: {', '.join(changed)}",
            hint="Give the operators a namespace of their own, or use REPRO_MODE=best_effort.",
        )


def _checks(
    libraries: Sequence[str], environ: Mapping[str, str], pools: Callable[[], list[dispatch.Pool]]
) -> Iterator[Check]:
    loaded = [name for name in libraries if name in sys.modules]
    strict = is_strict_mode(environ)
    portable = environ.get("REPRO_PROFILE") == "x86-64-v3"
    if loaded and not dispatch.sees_pools():
        _go_on_unseen(loaded, strict=strict, portable=portable)
    if loaded and strict:
        yield from _threads(pools(), loaded, environ.get("REPRO_THREADS", "1"))
    if loaded and portable:
        yield from _openblas(pools(), loaded)
    if "numpy" in loaded and portable:
        beyond = [name for name in dispatch.numpy_features() if name.startswith(_AVX512)]
        yield "what numpy uses beyond AVX2", "NPY_DISABLE_CPU_FEATURES", "nothing", ", ".join(beyond) or "nothing"
    if "pyarrow" in loaded and strict:
        yield "PyArrow's number of threads", "pyarrow.set_cpu_count(1)", "1", str(sys.modules["pyarrow"].cpu_count())
    if "torch" in loaded:
        torch: Any = sys.modules["torch"]
        if strict:
            yield from _torch_threads(torch, environ)
        if portable:
            yield from _torch_caps(torch, dispatch.torch_dispatch())


def _go_on_unseen(loaded: Sequence[str], *, strict: bool, portable: bool) -> None:
    """Where threadpoolctl is missing: say what is not verified, or refuse where the profile's bits rest on it."""
    capped = [name for name in loaded if name in _WITH_OPENBLAS]
    if portable and capped:
        raise IntegrityError(
            f"whether OPENBLAS_CORETYPE took effect in {capped[0]} cannot be verified: {dispatch.UNSEEN}",
            hint="Add threadpoolctl to the environment's Python packages, or use the profile native.",
        )
    if strict:
        _say_unseen()


@functools.cache
def _say_unseen() -> None:
    """Once in a process."""
    sys.stderr.write(f"harness: strict: the libraries' numbers of threads are not verified: {dispatch.UNSEEN}\n")


def _threads(pools: Iterable[dispatch.Pool], loaded: Sequence[str], wanted: str) -> Iterator[Check]:
    for pool in pools:
        # LightGBM and others use the system's OpenMP, which has no owner among the packages.
        if pool.owner in loaded or pool.owner == "system":
            variable = "OMP_NUM_THREADS" if pool.library == "openmp" else f"{pool.library.upper()}_NUM_THREADS"
            yield f"the number of threads of {pool.owner}'s {pool.library}", variable, wanted, str(pool.threads)


def _openblas(pools: Iterable[dispatch.Pool], loaded: Sequence[str]) -> Iterator[Check]:
    for pool in pools:
        if pool.library == "openblas" and pool.owner in loaded:
            yield f"the core type of {pool.owner}'s OpenBLAS", "OPENBLAS_CORETYPE", "Haswell", pool.architecture


def _torch_threads(torch: Any, environ: Mapping[str, str]) -> Iterator[Check]:
    threads = environ.get("REPRO_THREADS", "1")
    yield "torch's number of threads", "OMP_NUM_THREADS", threads, str(torch.get_num_threads())


def _torch_caps(torch: Any, selected: Mapping[str, str]) -> Iterator[Check]:
    wanted = {
        "aten": ("ATEN_CPU_CAPABILITY", "AVX2", True),
        "onednn": ("ONEDNN_MAX_CPU_ISA", "Intel AVX2", torch.backends.mkldnn.is_available()),
        "mkl": ("MKL_CBWR", "COMPATIBLE", torch.backends.mkl.is_available()),
    }
    for name, (variable, value, available) in wanted.items():
        if available:
            # One that does not tell may compute with anything.
            yield f"the instruction set of torch's {name}", variable, value, selected.get(name, "unknown")
