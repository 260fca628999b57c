"""What the NVIDIA Container Toolkit must find in an image to put the driver's libraries into a container of it."""

from collections.abc import Iterable

from harness.errors import UsageError
from harness.images.tree import Directory, Entry, File

# Path, whether it is a folder, the Debian package that has it, and what the toolkit does with it.
_NEEDED = (
    ("etc/debian_version", False, "base-files", "by it the toolkit knows that libraries belong into Debian's folders"),
    ("etc/ld.so.conf", False, "libc-bin", "it names the folders that the linker's cache is made from"),
    ("etc/ld.so.conf.d", True, "libc-bin", "the toolkit adds the driver's folders there"),
    ("usr/sbin/ldconfig", False, "libc-bin", "it makes the linker find the driver's libraries, which come at run time"),
)


def require_toolkit_files(name: str, entries: Iterable[tuple[str, Entry]]) -> None:
    """Nothing, if the image `name`, which holds `entries`, has what the toolkit needs.

    Raises:
        UsageError: it lacks something; the message says what for, the hint which package has it.
    """
    there = dict(entries)
    for path, folder, package, why in _NEEDED:
        entry = there.get(path)
        if isinstance(entry, Directory if folder else File) and _runs(path, entry):
            continue
        raise UsageError(
            f"The image {name} is for CUDA and has no {'folder' if folder else 'file'} /{path} "
            f"for the NVIDIA Container Toolkit: {why}",
            hint=f"Ask for {package} in debian.packages of docker/{name}.yaml, and do not exclude the path.",
        )


def _runs(path: str, entry: Entry | None) -> bool:
    """Whether a program may be executed; true of all else."""
    return "/sbin/" not in path or (isinstance(entry, File) and bool(entry.mode & 0o111))
