"""What a run says of its own environment, layer by layer (`record/environment.py` reads it back).

The parts that don't depend on what a program loads are taken once, by the launcher; what the loaded libraries selected
is added when a process ends, or by the trainer. Entries named `owner/what` belong to libraries that only some programs
load: they are recorded, and the probe measures what they do, but they don't make two environments different.
Standard library only.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from harness.spec.processor import processor_facts
from harness.spec.variables import numeric_settings
from harness.strict import dispatch, gpu
from harness.strict.bootstrap import is_strict_mode
from harness.strict.environment import available_cores
from harness.strict.kernels.version import VERSION

SCHEMA = "harness.environment/1"
FILE_NAME = "environment.json"

_OWN = "hermetic-training-harness"
_ADDR_NO_RANDOMIZE = 0x0040000  # linux/personality.h
_CODE = Path(__file__).resolve().parents[2]
_SYSTEM_LIBRARIES = ("libc.so.6", "libm.so.6", "libgomp.so.1", "libstdc++.so.6")
_NOTES = re.compile(r"\.dist-info/(INSTALLER|REQUESTED|RECORD|direct_url\.json|uv_\w+\.json),")


def capture(probes: Mapping[str, Mapping[str, str]] | None = None) -> dict[str, Any]:
    """The whole environment of this process as `record.environment.Captured` writes it, with the probe's answers.

    What the launcher wrote already is not taken again.
    """
    output = os.environ.get("HARNESS_OUTPUT")
    static = (_written(Path(output)) if output else None) or static_part(os.environ)
    return _merged(static, _loaded_part(probes or {}))


def static_part(environ: Mapping[str, str]) -> dict[str, Any]:
    """All that can be said before a program starts."""
    return {
        "schema": SCHEMA,
        "python": _python(),
        "libraries": _libraries(),
        "native": _system_libraries(),
        "cpu": _cpu(),
        "gpu": _gpu(environ),
        "settings": _settings(environ),
        "probe": {},
        "host": _host(),
    }


def write(captured: Mapping[str, Any], output: Path) -> None:
    """Write a capture to `output`/environment.json, whole or not at all."""
    temporary = output / f".{FILE_NAME}.{os.getpid()}"
    temporary.write_text(json.dumps(captured, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(output / FILE_NAME)


def record_process(output: Path) -> None:
    """Add what this process loaded to the capture in `output`, with a probe; several processes may do so at once."""
    from harness.strict.probe import KNOWN, probe

    loaded = [name for name in KNOWN if name in sys.modules and name != "python"]
    if not loaded:
        return
    add(probe(loaded), output)


def add(probes: Mapping[str, Mapping[str, str]], output: Path) -> None:
    """Add what this process loaded to the capture in `output`, with the probe's answers; whole or not at all."""
    addition = _loaded_part(probes)
    # A file of its own: the folder itself may be locked by whoever started the run, for as long as it lasts.
    lock = os.open(output / f".{FILE_NAME}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write(_merged(_written(output) or static_part(os.environ), addition), output)
    finally:
        os.close(lock)


def _written(output: Path) -> dict[str, Any] | None:
    path = output / FILE_NAME
    if not path.is_file():
        return None
    written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return written


def _merged(static: Mapping[str, Any], addition: Mapping[str, Any]) -> dict[str, Any]:
    """One capture; where two processes selected different things both are named."""
    merged = dict(static)
    merged["native"] = _union(static["native"], addition["native"])
    merged["settings"] = _union(static["settings"], addition["settings"])
    merged["cpu"] = {**static["cpu"], "dispatch": _union(static["cpu"]["dispatch"], addition["dispatch"])}
    merged["probe"] = {
        name: _union(static["probe"].get(name, {}), addition["probe"].get(name, {}))
        for name in sorted({*static["probe"], *addition["probe"]})
    }
    return merged


def _union(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """Both; of two texts for a key both, of two digests the smaller: the same whichever process comes last."""
    merged = dict(one)
    for key, value in other.items():
        known = {*merged.get(key, value).split(" | "), *value.split(" | ")}
        merged[key] = min(known) if value.startswith("sha256:") else " | ".join(sorted(known))
    return dict(sorted(merged.items()))


def _python() -> dict[str, str]:
    executable = Path(sys.executable).resolve()
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "compiler": platform.python_compiler(),
        "build": " ".join(platform.python_build()),
        "executable": _file_digest(executable),
    }


def _libraries() -> dict[str, dict[str, str | None]]:
    """Installed distributions by canonical name; the first on the path wins, as for imports."""
    code = {str(_CODE), str(Path(__file__).parent / "site"), "", str(Path.cwd())}
    found: dict[str, dict[str, str | None]] = {}
    for distribution in distributions(path=[entry for entry in sys.path if entry not in code]):
        metadata = distribution.metadata
        name = re.sub(r"[-_.]+", "-", metadata["Name"] or "").lower()
        if name and name != _OWN and name not in found:
            found[name] = {"version": metadata["Version"], "digest": _record_digest(distribution)}
    return dict(sorted(found.items()))


def _record_digest(distribution: Distribution) -> str | None:
    """The digest over (path, hash) of every file that RECORD names; what an installer adds of its own is left out."""
    record = distribution.read_text("RECORD")
    if record is None:
        return None
    named = (line.rpartition(",")[0] for line in record.splitlines() if "," in line and "=" in line)
    return _digest("\n".join(sorted(line for line in named if not _is_noise(line))).encode())


def _is_noise(line: str) -> bool:
    """Whether a RECORD line is the installer's own: scripts outside the library, compiled files, its notes."""
    if line.startswith(("../", "/")) or ".pyc," in line:
        return True
    return ".dist-info/" in line and _NOTES.search(line) is not None


def _system_libraries() -> dict[str, str]:
    """The C library and what numeric wheels take from the system, by content."""
    native = {"libc": " ".join(platform.libc_ver())}
    folder = _libc_folder()
    if folder is None:
        return native
    for name in _SYSTEM_LIBRARIES:
        places = (folder / name, Path("/usr") / folder.relative_to("/") / name)
        path = next((place for place in places if place.exists()), None)
        if path is not None:
            native[name] = _file_digest(path)
    return native


def _libc_folder() -> Path | None:
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(r"(/\S*)/libc(?:\.so\.6|-[\d.]+\.so)$", maps, re.MULTILINE)
    return Path(match.group(1)) if match else None


def _cpu() -> dict[str, Any]:
    facts = processor_facts()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return {
        "architecture": platform.machine(),
        "vendor": facts.get("vendor_id") or facts.get("CPU implementer", ""),
        "family": facts.get("cpu family") or facts.get("CPU architecture", ""),
        "model": facts.get("model") or facts.get("CPU part", ""),
        "model_name": facts.get("model name") or platform.processor(),
        "dispatch": {"isa": " ".join(instruction_sets(flags))} if flags else {},
    }


def instruction_sets(flags: Iterable[str]) -> list[str]:
    """The CPU flags that numeric libraries choose kernels by, sorted."""
    pattern = r"sse4_2|avx\w*|fma4?|f16c|amx\w*|bmi[12]|asimd\w*|sve\w*|sme2?|bf16|i8mm|fphp"
    return sorted(flag for flag in flags if re.fullmatch(pattern, flag))


def _gpu(environ: Mapping[str, str]) -> dict[str, Any] | None:
    found = gpu.describe(environ)
    if found is None:
        return None
    names = ((entry.metadata["Name"] or "", entry.version) for entry in distributions())
    wheels = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in names}
    used = {name: version for name, version in sorted(wheels.items()) if name.startswith("nvidia-")}
    return {**found, "libraries": {**found["libraries"], **used}}


def _settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The numeric variables as found; where threads are free, how many the libraries then take.

    Strict runs name the edition of its own kernels: with others a library computes other bits, and nothing else in an
    environment would say so.
    """
    settings = numeric_settings(environ)
    if is_strict_mode(environ):
        settings["strict_kernels"] = VERSION
    if "OMP_NUM_THREADS" not in settings:
        settings["threads"] = f"free: {available_cores()}"
    return settings


def _host() -> dict[str, str]:
    return {
        "kernel": f"{platform.system()} {platform.release()}",
        "cores": str(available_cores()),
        "processors": str(os.cpu_count()),
        "memory": str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "addresses": _addresses(),
    }


def _addresses() -> str:
    """Whether addresses are the same in every run (`fixed`) or not (`random`)."""
    try:
        personality = int(Path("/proc/self/personality").read_text(encoding="ascii"), 16)
    except (OSError, ValueError):
        return "unknown"
    return "fixed" if personality & _ADDR_NO_RANDOMIZE else "random"


def _loaded_part(probes: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    selected: dict[str, str] = {}
    native: dict[str, str] = {}
    settings: dict[str, str] = {}
    if features := dispatch.numpy_features():
        selected["numpy"] = " ".join(features)
    if not dispatch.sees_pools():
        settings["threadpoolctl/threads"] = f"unknown: {dispatch.UNSEEN}"
    for pool in dispatch.pools():
        native[f"{pool.owner}/{pool.library}"] = pool.version or "present"
        settings[f"{pool.owner}/{pool.library}.threads"] = str(pool.threads)
        if pool.architecture:
            name = pool.library if pool.owner == "numpy" else f"{pool.owner}/{pool.library}"
            selected[name] = pool.architecture
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        from harness.strict.kernels import installation  # not for the launcher, which imports this module too

        of_torch = {**dispatch.torch_dispatch(), **installation.selected(torch)}
        selected |= {f"torch/{name}": value for name, value in of_torch.items()}
        settings["torch/deterministic_algorithms"] = str(torch.are_deterministic_algorithms_enabled()).lower()
        if used := getattr(torch, "_harness_autocast", None):
            settings["torch/autocast"] = " | ".join(sorted(used))
        for line in torch.__config__.show().splitlines():
            if match := re.match(r"\s*- Intel\(R\) (oneAPI Math Kernel Library|MKL-DNN) (.*)", line):
                native["torch/mkl" if "oneAPI" in match.group(1) else "torch/onednn"] = match.group(2)
    return {"dispatch": selected, "native": native, "settings": settings, "probe": dict(probes)}


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
