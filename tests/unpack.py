"""Unpack a layer of an image into a folder, as it is; its devices are left out, which only root may make."""

import tarfile
from pathlib import Path


def unpack(layer: Path, folder: Path) -> None:
    with tarfile.open(layer, "r:") as archive:
        # Set, not passed: Python before 3.11.4 knows no filters and would refuse the argument.
        archive.extraction_filter = lambda member, _: member
        archive.extractall(folder, [member for member in archive if not (member.ischr() or member.isblk())])
