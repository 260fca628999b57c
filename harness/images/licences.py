"""What a package says of its licence, where it says it in a form that a machine can read.

Wheels: https://packaging.python.org/specifications/core-metadata/ (`License-Expression`, `License`, classifiers).
Debian: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
"""

import logging
import re
from collections.abc import Iterable
from email.message import Message

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.license import License, LicenseAcknowledgement
from cyclonedx.spdx import fixup_id, is_expression
from debian.copyright import Copyright, MachineReadableFormatError, NotMachineReadableError

UNKNOWN = "NOASSERTION"
"""What is said where a package says nothing that can be read; the word is that of SPDX."""
MOST_TEXT = 100
_MOST_COPYRIGHT = 16 << 20

# Classifiers that mean one licence: most do not (`BSD License` is three), or leave the version open.
# Trove classifiers (the list of the `trove-classifiers` project) by https://spdx.org/licenses/
_CLASSIFIERS = {
    "License :: CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
    "License :: OSI Approved :: Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "License :: OSI Approved :: GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "License :: OSI Approved :: GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "License :: OSI Approved :: GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "License :: OSI Approved :: GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: MIT No Attribution License (MIT-0)": "MIT-0",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: The Unlicense (Unlicense)": "Unlicense",
    "License :: OSI Approved :: zlib/libpng License": "Zlib",
}
# Debian's short names (section 7.1 of its format) that SPDX has under another name.
_DEBIAN = {"Expat": "MIT", "CC0": "CC0-1.0", "Artistic": "Artistic-1.0"}
_VERSIONED = re.compile(r"(GPL|LGPL|AGPL|GFDL)-(\d+)(\.\d+)?(\+)?")
# It says of every second file that its address was written with http.
logging.getLogger("debian.copyright").setLevel(logging.ERROR)


def wheel_licences(metadata: Message) -> tuple[License, ...]:
    """The licences in a wheel's METADATA: its expression, else what else names one; as its authors declare it."""
    for field in ("License-Expression", "License"):
        text = _line(metadata.get(field))
        if fixup_id(text) or _is_expression(text):
            return (_licence(text),)
    classifiers = [name for name in metadata.get_all("Classifier", []) if name.startswith("License :: ")]
    if classifiers and all(name in _CLASSIFIERS for name in classifiers):
        return _sorted(_licence(_CLASSIFIERS[name]) for name in classifiers)
    if (text := _line(metadata.get("License-Expression")) or _line(metadata.get("License"))) and text != "UNKNOWN":
        return (_name(text),)
    return _sorted(_name(name.rpartition(" :: ")[2]) for name in classifiers) or (_unknown(),)


def debian_licences(copyright_: bytes | None) -> tuple[License, ...]:
    """The licences that a Debian package's copyright file names, of whatever file of its source, each once.

    Null where the package has none. Such a file may be plain prose; then nothing is asserted.
    """
    if copyright_ is None or len(copyright_) > _MOST_COPYRIGHT:
        return (_unknown(),)
    try:
        document = Copyright(copyright_.decode("utf-8", "replace").splitlines(keepends=True), strict=False)
        found = [document.header.license, *(paragraph.license for paragraph in document.all_files_paragraphs())]
    except (NotMachineReadableError, MachineReadableFormatError, ValueError, TypeError):
        return (_unknown(),)
    synopses = (getattr(licence, "synopsis", None) for licence in found)  # what it lacks where the field is broken
    names = {" ".join(synopsis.split()) for synopsis in synopses if synopsis}
    return _sorted(_debian(name) for name in names) or (_unknown(),)


def _debian(name: str) -> License:
    """A licence by Debian's short name, as SPDX calls it where that is the same licence, else as it is."""
    match = _VERSIONED.fullmatch(name)
    spdx = _DEBIAN.get(name, name)
    if match is not None:
        spdx = f"{match[1]}-{match[2]}{match[3] or '.0'}-{'or-later' if match[4] else 'only'}"
    return _licence(spdx) if fixup_id(spdx) else _name(name)


def _licence(text: str) -> License:
    """The licence of that SPDX identifier or expression."""
    declared, factory = LicenseAcknowledgement.DECLARED, LicenseFactory()
    if (known := fixup_id(text)) is not None:
        return factory.make_with_id(known, acknowledgement=declared)
    return factory.make_with_expression(text, acknowledgement=declared)


def _is_expression(text: str) -> bool:
    return bool(text) and is_expression(text)


def _name(text: str) -> License:
    name = text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"
    return LicenseFactory().make_with_name(name, acknowledgement=LicenseAcknowledgement.DECLARED)


def _unknown() -> License:
    return LicenseFactory().make_with_name(UNKNOWN)


def _sorted(licences: Iterable[License]) -> tuple[License, ...]:
    found = {str(getattr(licence, "id", None) or getattr(licence, "name", None)): licence for licence in licences}
    return tuple(found[name] for name in sorted(found))


def _line(text: str | None) -> str:
    """A field's value if it is one line: whole texts of licences stand in `License` too."""
    stripped = (text or "").strip()
    return stripped if "\n" not in stripped else ""
