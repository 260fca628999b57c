"""Programs of others that some tests need, each in a Debian package.

Where one is missing such a test is skipped; with HARNESS_TEST_REQUIRE=1 it fails, so that no machine that should have
them all passes without. `@pytest.mark.needs("skopeo")` asks before a test, `need("skopeo")` in the middle of a fixture.
"""

import os
import shutil
from typing import NoReturn

import pytest

REQUIRE = "HARNESS_TEST_REQUIRE"
PACKAGES = {
    "apt-get": "apt",
    "docker-registry": "docker-registry",
    "gpgv": "gpgv",
    "htpasswd": "apache2-utils",
    "libfaketime": "libfaketime",  # a library, which `harness image verify` looks for
    "openssl": "openssl",
    "qemu-aarch64": "qemu-user",
    "qemu-x86_64": "qemu-user",
    "skopeo": "skopeo",
    "strace": "strace",
    "umoci": "umoci",
}
"""The Debian package of each."""


def need(program: str) -> str:
    """The path of a program; skips the test, or fails it, where it is missing."""
    path = shutil.which(program)
    return path if path is not None else lack(program)


def lack(program: str) -> NoReturn:
    """Skip the test, or fail it, for want of a program."""
    skip_or_fail(f"{program} is not installed (Debian: apt-get install {PACKAGES[program]})")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test for want of what a machine can be given, or fail it where that is required."""
    if os.environ.get(REQUIRE, "0") != "0":
        pytest.fail(f"{reason}, and {REQUIRE} is set", pytrace=False)
    pytest.skip(reason)
