"""Our closure against apt's own, of small lists that are hard in one way each, and of what this machine's apt knows."""

import re
import subprocess

import pytest

from harness.errors import UsageError
from harness.locking.closure import PackageIndex, closure
from tests.tools import skip_or_fail

pytestmark = pytest.mark.needs("apt-get")

LISTS = {
    "alternatives": ["a 1; Depends: b | c", "b 1; Depends: nowhere", "c 1"],
    "versions": ["a 1; Depends: b (>= 1.0~rc1), c (<< 1:1)", "b 1.0", "c 2.5"],
    "versioned alternative": ["a 1; Depends: b (>= 2) | c", "b 1", "c 1"],
    "versioned provides": ["a 1; Depends: api (>= 2)", "plain 1; Provides: api", "new 1; Provides: api (= 2.1)"],
    "provides by priority": [
        "a 1; Depends: awk", "g 1; Priority: extra; Provides: awk", "m 1; Priority: required; Provides: awk",
    ],
    "there already": ["a 1; Depends: b | c", "b 1", "c 1", "d 1; Depends: c"],
    "conflict with the first choice": ["a 1; Depends: b | c, d", "b 1", "c 1", "d 1; Conflicts: b"],
    "breaks": ["a 1; Depends: b, c", "b 2", "c 1; Breaks: b (<< 2)"],
    "any": ["a 1; Depends: b:any", "b 1; Multi-Arch: allowed"],
    "any of what is not allowed": ["a 1; Depends: b:any", "b 1"],
    "this architecture": ["a 1; Depends: b:amd64", "b 1"],
    "another architecture": ["a 1; Depends: b:arm64", "b 1"],
    "cycle": ["a 1; Depends: b", "b 1; Depends: a"],
    "own virtual name": ["a 1; Provides: mta; Conflicts: mta"],
    "impossible": ["a 1; Depends: b, c", "b 1; Conflicts: c", "c 1"],
    "missing": ["a 1; Depends: b (>= 2)", "b 1"],
}  # fmt: skip


def stanza(text):
    head, *fields = [part.strip() for part in text.split(";")]
    name, version = head.split()
    more = ["Maintainer: x <x@test.invalid>", "Description: x", "Filename: ./x.deb", "Size: 1", f"SHA256: {'0' * 64}"]
    return "\n".join([f"Package: {name}", f"Version: {version}", "Architecture: amd64", *fields, *more])


class Apt:
    """apt on a machine on which nothing is installed, with the packages of one list."""

    def __init__(self, folder, options=()):
        self.options = [
            "-o", f"Dir::State::status={folder}/status", "-o", "Debug::NoLocking=1", "-o", "APT::Architecture=amd64",
            "-o", "APT::Architectures=amd64", *options,
        ]  # fmt: skip
        (folder / "status").touch()

    def __call__(self, *arguments):
        argv = ["apt-get", *self.options, *arguments]
        return subprocess.run(
            argv, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
        )

    def install(self, *packages):
        done = self("--no-install-recommends", "--simulate", "install", *packages)
        found = re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", done.stdout, re.MULTILINE)
        return sorted(found) if done.returncode == 0 else None


def ours(index, *packages):
    try:
        return sorted((found.name, found.version) for found in closure(index, packages))
    except UsageError:
        return None


@pytest.mark.parametrize("name", LISTS)
def test_the_closure_is_apt_s(name, tmp_path):
    text = "\n\n".join(map(stanza, LISTS[name])) + "\n"
    for folder in ("repository", "lists/partial", "cache/archives/partial", "parts"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "repository" / "Packages").write_text(text)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{tmp_path}/repository ./\n")
    apt = Apt(tmp_path, [
        "-o", f"Dir::Etc::SourceList={tmp_path}/sources.list", "-o", f"Dir::Etc::SourceParts={tmp_path}/parts",
        "-o", f"Dir::State::Lists={tmp_path}/lists", "-o", f"Dir::Cache={tmp_path}/cache",
        "-o", "APT::Sandbox::User=root",
    ])  # fmt: skip
    updated = apt("update")
    assert updated.returncode == 0, updated.stderr
    assert ours(PackageIndex(text), "a") == apt.install("a")


SETS = (
    "bash coreutils base-files libc-bin libgcc-s1 libgomp1 libstdc++6 python3.11", "libgl1 libglib2.0-0", "git curl",
    "ffmpeg", "build-essential", "python3-numpy python3-scipy", "openjdk-17-jre-headless", "octave", "php",
)  # fmt: skip


def test_the_closure_of_real_packages_is_apt_s(tmp_path):
    helper = "/usr/lib/apt/apt-helper"
    asked = ["apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Packages"]
    files = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    lists = [subprocess.run([helper, "cat-file", file], capture_output=True, text=True, check=False) for file in files]
    text = "\n\n".join(done.stdout for done in lists)
    if "Package: bash\n" not in text:
        skip_or_fail("apt's package lists are not here: apt-get update")
    apt, index = Apt(tmp_path), PackageIndex(text)
    known = [packages.split() for packages in SETS if all(map(index.named, packages.split()))]
    assert known
    for packages in known:
        assert ours(index, *packages) == apt.install(*packages), packages
