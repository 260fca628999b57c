"""The one table of environment variables: image configs, engines, the launcher and the documentation are made from it.

Standard library only, because it is read inside images that may hold nothing else. The launcher checks that a strict
run has every value; threads and the caps of a profile are also verified to have taken effect (`harness.strict.verify`),
because the libraries that read these variables ignore what they don't understand without a word.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from harness.errors import UsageError

MODES = ("strict", "best_effort")
PROFILES = ("native", "x86-64-v3")
VARIANTS = ("cpu", "cuda")
HASH_SEED = "42"


class Variable(NamedTuple):
    """One row: where it applies (null: everywhere), its value, and why.

    `value` may name `{mode}`, `{profile}`, `{variant}`, `{seed}`, `{version}` and `{threads}`. `older` is
    (library, first version with `value`, the value before it). `numeric` marks what can change a bit: it is recorded
    as found. `thread_count` marks those whose value is the number of threads of one reduction.
    """

    name: str
    value: str
    why: str
    variant: str | None = None
    profile: str | None = None
    mode: str | None = None
    numeric: bool = False
    thread_count: bool = False
    older: tuple[str, str, str] | None = None

    def applies(self, *, mode: str, profile: str, variant: str) -> bool:
        """Whether a run of this mode, profile and variant gets the variable."""
        return self.mode in (None, mode) and self.profile in (None, profile) and self.variant in (None, variant)

    @property
    def constant(self) -> bool:
        """Whether every run of the variant gets the same value, so that it may stand in the image."""
        return self.mode is None and self.profile is None and self.older is None and "{" not in self.value


def _threads(name: str, why: str) -> Variable:
    return Variable(name, "{threads}", why, mode="strict", numeric=True, thread_count=True)


def _x86_64_v3(name: str, value: str, why: str, older: tuple[str, str, str] | None = None) -> Variable:
    return Variable(name, value, why, profile="x86-64-v3", numeric=True, older=older)


TABLE: tuple[Variable, ...] = (
    Variable(
        "REPRO_MODE",
        "{mode}",
        "what the run promises: bits (`strict`) or seeds (`best_effort`, in which cuDNN times its algorithms)",
    ),
    Variable("REPRO_SEED", "{seed}", "the base seed, from which every other seed is derived"),
    Variable("REPRO_VERSION", "{version}", "the seed recipe"),
    Variable("REPRO_PROFILE", "{profile}", "how numerics are pinned, so that the run can check it"),
    Variable("REPRO_VARIANT", "{variant}", "which rows of this table apply"),
    Variable("REPRO_THREADS", "{threads}", "threads of one reduction, so that the run can check it", mode="strict"),
    Variable("PYTHONHASHSEED", HASH_SEED, "order of sets and of what is made from them; a constant", numeric=True),
    Variable("PYTHONDONTWRITEBYTECODE", "1", "no time-stamped files beside the code"),
    Variable("PYTHONNOUSERSITE", "1", "no packages from the user's home"),
    Variable("LANG", "C.UTF-8", "sorting and number formats do not depend on the machine"),
    Variable("LC_ALL", "C.UTF-8", "beats every other locale variable"),
    Variable("TZ", "UTC", "dates do not depend on the machine"),
    _threads("OMP_NUM_THREADS", "the order of an OpenMP reduction depends on the number of threads"),
    _threads("OMP_THREAD_LIMIT", "holds even where a program asks OpenMP for more (`n_jobs=-1`)"),
    _threads("OPENBLAS_NUM_THREADS", "products and decompositions differ between 1 and 2 threads"),
    _threads("MKL_NUM_THREADS", "as OpenBLAS"),
    _threads("VECLIB_MAXIMUM_THREADS", "as OpenBLAS, on a Mac"),
    _threads("NUMEXPR_NUM_THREADS", "the machine's core count otherwise"),
    _threads("NUMBA_NUM_THREADS", "the machine's core count otherwise"),
    _threads("POLARS_MAX_THREADS", "the machine's core count otherwise"),
    _threads("LOKY_MAX_CPU_COUNT", "what joblib takes `n_jobs=-1` for; scikit-learn's forests add up in thread order"),
    Variable("OMP_DYNAMIC", "FALSE", "OpenMP may not choose fewer threads under load", mode="strict", numeric=True),
    Variable("OMP_MAX_ACTIVE_LEVELS", "1", "no nested pools", mode="strict", numeric=True),
    Variable("MKL_DYNAMIC", "FALSE", "MKL may not choose fewer threads under load", mode="strict", numeric=True),
    Variable("MKL_THREADING_LAYER", "GNU", "one OpenMP runtime in a process, not two", numeric=True),
    Variable(
        "MALLOC_MMAP_THRESHOLD_",
        "268435456",
        "a step's arrays (up to 256 MiB each) come from kept memory: glibc maps some anew, by luck of its layout",
        mode="strict",
    ),
    Variable("MALLOC_TRIM_THRESHOLD_", "1073741824", "and up to 1 GiB of freed memory stays at hand", mode="strict"),
    Variable(
        "ONEDNN_DEFAULT_FPMATH_MODE", "STRICT", "no silent bfloat16 in float32 products", mode="strict", numeric=True
    ),
    Variable(
        "MKL_CBWR",
        "AUTO",
        "MKL's fastest path for this CPU; `COMPATIBLE` costs half the speed",
        profile="native",
        numeric=True,
    ),
    _x86_64_v3("MKL_CBWR", "COMPATIBLE", "the only value on which AMD and Intel agree"),
    _x86_64_v3("OPENBLAS_CORETYPE", "Haswell", "one set of kernels on every CPU with AVX2"),
    _x86_64_v3(
        "OPENBLAS_THREAD_TIMEOUT",
        "4",
        "its threads sleep between products instead of waiting on cores that torch needs",
    ),
    _x86_64_v3("ONEDNN_MAX_CPU_ISA", "AVX2", "no kernels beyond AVX2"),
    _x86_64_v3("ATEN_CPU_CAPABILITY", "avx2", "no torch kernels beyond AVX2"),
    _x86_64_v3(
        "NPY_DISABLE_CPU_FEATURES",
        "X86_V4,AVX512_ICL,AVX512_SPR",
        "no NumPy kernels beyond AVX2; NumPy 2.4 renamed its features",
        older=("numpy", "2.4", "AVX512F,AVX512CD,AVX512_SKX,AVX512_CLX,AVX512_CNL,AVX512_ICL,AVX512_SPR"),
    ),
    Variable("CUDA_VISIBLE_DEVICES", "-1", "a strict run of the CPU variant uses no GPU", variant="cpu", mode="strict"),
    Variable("NVIDIA_VISIBLE_DEVICES", "all", "asks the container runtime for the GPUs", variant="cuda"),
    Variable(
        "NVIDIA_DRIVER_CAPABILITIES", "compute,utility", "the driver's libraries that a run needs", variant="cuda"
    ),
    Variable(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8", "cuBLAS repeats only with a fixed workspace", variant="cuda", numeric=True
    ),
    Variable("NVIDIA_TF32_OVERRIDE", "0", "no TF32 in float32 products", variant="cuda", mode="strict", numeric=True),
    Variable("NCCL_ALGO", "Ring", "the order of a sum over GPUs", variant="cuda", mode="strict", numeric=True),
)

# What numeric libraries read beyond the table: found in an environment, it can change a bit.
_NUMERIC_PREFIXES = (
    "ATEN_", "BLIS_", "CUBLAS", "CUDNN_", "DNNL_", "GLIBC_TUNABLES", "GOMP_", "GOTO_", "KMP_", "MKL_", "NPY_",
    "NUMBA_", "NUMEXPR_", "NVIDIA_TF32_OVERRIDE", "OMP_", "ONEDNN_", "OPENBLAS_", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "NCCL_ALGO", "NCCL_PROTO",
)  # fmt: skip
_HARMLESS = re.compile(r"VERBOSE|_DIR\Z|_PATH\Z|_LOG|DISPLAY_ENV|_INFO\Z")


def image_variables(variant: str) -> dict[str, str]:
    """What an image's config holds: the rows whose value is the same in every run of the variant.

    Raises:
        UsageError: `variant` is not known.
    """
    _known("variant", variant, VARIANTS)
    return {row.name: row.value for row in TABLE if row.constant and row.variant in (None, variant)}


def run_variables(
    *,
    mode: str,
    profile: str,
    variant: str,
    seed: int,
    version: str,
    threads: int = 1,
    cores: int,
    libraries: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Everything from this table that a run's processes get. `libraries` (name to version) is for names that changed.

    In `best_effort` threads and GPU are the libraries' own choice: no thread variable is set.

    Raises:
        UsageError: a value is not known, or a strict run asks for more threads than it has cores (then even libgomp's
            own reductions do not repeat).
    """
    _known("mode", mode, MODES)
    _known("profile", profile, PROFILES)
    _known("variant", variant, VARIANTS)
    if not 1 <= threads <= max(cores, 1):
        raise UsageError(
            f"{threads} threads a fit on {cores} cores: sums do not repeat",
            hint="Ask for at most the number of cores: threading.threads_per_fit, or --threads of `harness exec`.",
        )
    values = {
        "mode": mode, "profile": profile, "variant": variant, "seed": seed, "version": version, "threads": threads
    }  # fmt: skip
    rows = (row for row in TABLE if row.applies(mode=mode, profile=profile, variant=variant))
    return {row.name: _value(row, libraries or {}).format(**values) for row in rows}


def overridden(inherited: Mapping[str, str], chosen: Mapping[str, str]) -> list[str]:
    """One sentence for each inherited variable that can change a bit and that the run won't see as it is, by name."""
    watched = {"CUDA_VISIBLE_DEVICES", *(row.name for row in TABLE if row.thread_count)}
    return [
        f"{name}={inherited[name]} is not taken over: the run "
        + (f"gets {name}={chosen[name]}" if name in chosen else f"has no {name}")
        for name in sorted(inherited)
        if (name in watched or _is_numeric(name)) and inherited[name] != chosen.get(name)
    ]


def numeric_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of `environ` that can change a bit, as found: no `REPRO_*`, paths, users or worker counts."""
    return {name: environ[name] for name in sorted(environ) if _is_numeric(name)}


def thread_counts() -> frozenset[str]:
    """The variables whose value is the number of threads of one reduction."""
    return frozenset(row.name for row in TABLE if row.thread_count)


def not_covered(profile: str) -> tuple[str, ...]:
    """What a profile promises by its name and its variables cannot give: said to whoever runs with it.

    Raises:
        UsageError: `profile` is not known.
    """
    _known("profile", profile, PROFILES)
    if profile == "native":
        return ()
    return (
        "what torch.compile generates is made for the processor that it runs on",
        "torch's products of complex numbers take MKL's slow common path, at about half the speed",
    )


def markdown() -> str:
    """The table as documentation."""
    lines = ["| variable | value | where | why |", "| --- | --- | --- | --- |"]
    lines += [f"| `{row.name}` | {_shown(row)} | {_where(row)} | {row.why} |" for row in TABLE]
    for profile in PROFILES:
        lines += ["", *(f"Not covered by `{profile}`: {limit}." for limit in not_covered(profile))]
    return "\n".join(lines).rstrip() + "\n"


def _is_numeric(name: str) -> bool:
    if any(row.numeric for row in TABLE if row.name == name):
        return True
    return name.startswith(_NUMERIC_PREFIXES) and _HARMLESS.search(name) is None


def _value(row: Variable, libraries: Mapping[str, str]) -> str:
    if row.older is None:
        return row.value
    library, first, before = row.older
    installed = libraries.get(library)
    return before if installed is not None and _release(installed) < _release(first) else row.value


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _known(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{what} {value!r} is not known", hint=f"Choose one of {', '.join(known)}.")


def _shown(row: Variable) -> str:
    text = f"`{row.value}`" if "{" not in row.value else row.value.strip("{}")
    return f"{text} (before {row.older[0]} {row.older[1]}: `{row.older[2]}`)" if row.older else text


def _where(row: Variable) -> str:
    parts: Iterator[str] = (part for part in (row.variant, row.profile, row.mode) if part)
    return ", ".join(parts) or ("always, in the image" if row.constant else "always")
