"""Wheels by name: which modules they bring, and which of the probe's libraries is in one."""

from packaging.utils import canonicalize_name

from harness.record.environment import PROBED

_MODULES = {
    "pyyaml": ("yaml", "_yaml"),
    "scikit-learn": ("sklearn",),
    "setuptools": ("setuptools", "pkg_resources", "_distutils_hack"),
    "xgboost-cpu": ("xgboost",),
}


def modules_of(wheel: str) -> tuple[str, ...]:
    """What a wheel is imported as: a name of its own where it is known to have one, else its own name."""
    return _MODULES.get(wheel, (wheel.replace("-", "_"),))


def wheels_of(folder: str) -> frozenset[str]:
    """The wheels that may bring a folder of site-packages: those known to, and what is named as it is.

    A folder is that of a module (`sklearn`) or of the libraries bundled with a wheel, which bears the wheel's own name
    with other marks between its words (`xgboost_cpu.libs`).
    """
    known = {wheel for wheel, modules in _MODULES.items() if folder in modules}
    return frozenset({folder, canonicalize_name(folder), *known})


def library_of(wheel: str) -> str:
    """What the probe calls the library in a wheel; the wheel's own name where the probe does not know it.

    A wheel that merely begins with a library's name (`torch-geometric`) is a library of its own.
    """
    return next((module for module in modules_of(wheel) if module in PROBED and module != "python"), wheel)


def may_hold(wheel: str, pattern: str) -> bool:
    """Whether files of a wheel can be among those of a spec's exclude `pattern`, which begins in site-packages."""
    head = pattern.partition("/")[0].partition(".")[0].partition("-")[0]
    if not head or set(head) & set("*?["):
        return True
    return head in {*modules_of(wheel), wheel.replace("-", "_")}
