"""The linker's cache, held against the one that ldconfig itself makes of the same files."""

import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.errors import IntegrityError
from harness.images.content import Inline
from harness.images.elf import library_name
from harness.images.ldcache import CACHE, PLATFORMS, add_linker_cache
from harness.images.tree import Directory, Entry, File, Symlink, Tree

LDCONFIG = shutil.which("ldconfig", path="/sbin:/usr/sbin")
FOLDER = "usr/lib/x86_64-linux-gnu"
X86 = PLATFORMS["amd64"].machine


def system_library(name: str) -> bytes:
    path = Path("/", FOLDER, name)
    if not path.is_file():
        pytest.skip(f"this machine has no {path} to try the linker's cache with")
    return path.read_bytes()


def file(data: bytes) -> File:
    return File(0o644, Inline(data))


@pytest.fixture
def entries() -> dict[str, Entry]:
    """A root with most things that ldconfig decides about."""
    libz, libc, libm = (system_library(name) for name in ("libz.so.1", "libc.so.6", "libm.so.6"))
    return {
        "lib": Symlink("usr/lib"),
        "etc/ld.so.conf": file(b"# all of these\ninclude /etc/ld.so.conf.d/*.conf\n/opt/later /nowhere\n"),
        "etc/ld.so.conf.d/b.conf": file(b"/lib/x86_64-linux-gnu # the usual one\n/usr/lib/x86_64-linux-gnu\n"),
        "etc/ld.so.conf.d/a.conf": file(b"/usr/local/lib\n\n/etc/alternatives\n/missing\n"),
        "etc/ld.so.conf.d/c.conf": file(b"/opt/two\n"),
        f"{FOLDER}/libc.so.6": file(libc),
        f"{FOLDER}/libz.so.1.2.9": file(libz),
        f"{FOLDER}/libz.so.1.2.13": file(libz),
        f"{FOLDER}/libz.so.1": Symlink("libz.so.1.2.13"),
        f"{FOLDER}/libz.so": Symlink("libz.so.1"),
        f"{FOLDER}/libother.so.1": Symlink("/lib/x86_64-linux-gnu/libz.so.1"),
        f"{FOLDER}/libdangling.so.1": Symlink("nothing"),
        f"{FOLDER}/libround.so.1": Symlink("libround.so.1"),
        f"{FOLDER}/libtext.so": file(b"/* GNU ld script */ GROUP ( libc.so.6 )\n"),
        f"{FOLDER}/libshort.so.1": file(libz[:40]),
        f"{FOLDER}/libarchive.a": file(b"!<arch>\n"),
        f"{FOLDER}/plugin.so": file(libm),
        f"{FOLDER}/libfolder.so.1": Directory(),
        f"{FOLDER}/glibc-hwcaps/x86-64-v3/libz.so.1.2.13": file(libz),
        f"{FOLDER}/glibc-hwcaps/x86-64-v3/libz.so.1": Symlink("libz.so.1.2.13"),
        f"{FOLDER}/glibc-hwcaps/x86-64-v2/libz.so.1": file(libz),
        f"{FOLDER}/glibc-hwcaps/x86-64-v2/libm.so.6": file(libm),
        "usr/local/lib/libm.so.6": file(libm),
        "usr/local/lib/below/libm.so.6": file(libm),
        "usr/lib/libm.so.6": file(libm),
        "opt/two/libm-10.so": file(libm),
        "opt/two/libm-9.so": file(libm),
        "etc/alternatives/libblas.so.3": Symlink("/usr/local/lib/libm.so.6"),
        "usr/lib/lib9.so": Symlink("libm.so.6"),
    }


def tree_of(entries: dict[str, Entry]) -> Tree:
    tree = Tree()
    for path, entry in entries.items():
        tree.add(path, entry, origin="test", layer="test")
    return tree


def cached(entries: dict[str, Entry], temporary: Path, architecture: str = "amd64") -> tuple[Tree, bytes]:
    tree = tree_of(entries)
    add_linker_cache(tree, architecture, layer="test", temporary=temporary)
    entry = dict(tree)[CACHE].entry
    assert isinstance(entry, File)
    return tree, b"".join(entry.content.chunks())


def listed(cache: bytes, temporary: Path) -> dict[str, str]:
    """Path by name, as `ldconfig -p` reads them from a cache."""
    path = temporary / "cache"
    path.write_bytes(cache)
    lines = subprocess.check_output([str(LDCONFIG), "-p", "-C", path], text=True).splitlines()
    pairs = [line.strip().split(" => ") for line in lines if " => " in line]
    return dict(reversed(pairs))


def write(entries: dict[str, Entry], root: Path) -> None:
    for path, entry in entries.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(entry, Directory):
            target.mkdir()
        elif isinstance(entry, Symlink):
            target.symlink_to(entry.target)
        else:
            target.write_bytes(b"".join(entry.content.chunks()))


def before_extensions(cache: bytes) -> bytes:
    """All but the extensions, in which the program that wrote the cache names itself."""
    return cache[: int.from_bytes(cache[32:36], "little")]


needs_ldconfig = pytest.mark.skipif(LDCONFIG is None, reason="there is no ldconfig on this machine")


@needs_ldconfig
def test_the_cache_is_the_one_that_ldconfig_makes_to_the_byte(entries: dict[str, Entry], tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may let ldconfig work on a folder")
    tree, ours = cached(entries, tmp_path)
    root = tmp_path / "root"
    write(entries, root)
    subprocess.run([str(LDCONFIG), "-r", root], check=True, capture_output=True)
    theirs = (root / CACHE).read_bytes()
    assert before_extensions(ours) == before_extensions(theirs)
    assert listed(ours, tmp_path) == listed(theirs, tmp_path)
    links = {str(path.relative_to(root)): str(path.readlink()) for path in root.rglob("*") if path.is_symlink()}
    dead = {f"{FOLDER}/libdangling.so.1", f"{FOLDER}/libround.so.1"}  # these ldconfig removes
    made = {path: entry.target for path, node in tree if isinstance(entry := node.entry, Symlink)}
    assert {path: target for path, target in made.items() if path not in dead} == links


@needs_ldconfig
def test_names_are_answered_with_the_preferred_file(entries: dict[str, Entry], tmp_path: Path) -> None:
    found = listed(cached(entries, tmp_path)[1], tmp_path)
    kind = "(libc6,x86-64)"
    assert found[f"libm.so.6 {kind}"] == "/usr/local/lib/libm.so.6"
    assert found[f"libz.so.1 {kind}"] == "/lib/x86_64-linux-gnu/libz.so.1"
    assert found['libz.so.1 (libc6,x86-64, hwcap: "x86-64-v3")'].endswith("x86-64-v3/libz.so.1.2.13")
    assert not {name for name in found if name.startswith(("libtext", "libshort", "plugin", "libdangling", "libround"))}


def test_a_soname_that_no_package_ships_a_link_for_gets_one(entries: dict[str, Entry], tmp_path: Path) -> None:
    tree, _ = cached(entries, tmp_path)
    assert dict(tree)["opt/two/libm.so.6"].entry == Symlink("libm-10.so")


@pytest.mark.parametrize("name", [b"../../z.1", b"/etc/pass", b".wh.shado", b"lib\nz.so1"])
def test_a_library_that_calls_itself_a_path_gets_no_link(
    name: bytes, entries: dict[str, Entry], tmp_path: Path
) -> None:
    data = system_library("libz.so.1")
    assert data.count(b"libz.so.1\0") == 1
    hostile = file(data.replace(b"libz.so.1\0", name + b"\0"))
    usual, cache = cached(entries, tmp_path)
    tree, with_it = cached(entries | {f"{FOLDER}/libhostile.so": hostile}, tmp_path)
    assert set(dict(tree)) - set(dict(usual)) == {f"{FOLDER}/libhostile.so"}
    assert with_it == cache


def test_a_tree_without_a_linkers_configuration_gets_no_cache(entries: dict[str, Entry], tmp_path: Path) -> None:
    tree = tree_of({path: entry for path, entry in entries.items() if path != "etc/ld.so.conf"})
    add_linker_cache(tree, "amd64", layer="test", temporary=tmp_path)
    assert CACHE not in tree


def test_a_cache_that_the_spec_gives_is_kept(entries: dict[str, Entry], tmp_path: Path) -> None:
    assert cached(entries | {CACHE: file(b"mine")}, tmp_path)[1] == b"mine"


def test_libraries_of_another_processor_are_not_in_it(entries: dict[str, Entry], tmp_path: Path) -> None:
    cache = cached(entries, tmp_path, "arm64")[1]
    assert int.from_bytes(cache[20:24], "little") == 0
    assert int.from_bytes(cached(entries, tmp_path)[1][20:24], "little") > 5


@needs_ldconfig
def test_libraries_for_arm_are_listed_as_such(entries: dict[str, Entry], tmp_path: Path) -> None:
    data = bytearray(system_library("libz.so.1"))
    data[18:20] = PLATFORMS["arm64"].machine.to_bytes(2, "little")
    arm = {"etc/ld.so.conf": entries["etc/ld.so.conf"], "usr/lib/aarch64-linux-gnu/libz.so.1": file(bytes(data))}
    found = listed(cached(arm, tmp_path, "arm64")[1], tmp_path)
    assert found == {"libz.so.1 (libc6,AArch64)": "/usr/lib/aarch64-linux-gnu/libz.so.1"}


def test_configurations_that_include_themselves_are_refused(entries: dict[str, Entry], tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="includes more than 100 files, or itself"):
        cached(entries | {"etc/ld.so.conf": file(b"include ld.so.conf\n")}, tmp_path)


@pytest.mark.parametrize("offset", range(0, 64, 2))
def test_a_damaged_header_is_no_library_and_no_crash(offset: int) -> None:
    data = bytearray(system_library("libz.so.1"))
    assert library_name(io.BytesIO(data), X86) == "libz.so.1"
    data[offset : offset + 2] = b"\xff\xff"
    assert library_name(io.BytesIO(data), X86) in (None, "libz.so.1")


@pytest.mark.parametrize("size", [0, 3, 63, 64, 100, 1000])
def test_half_a_library_is_none(size: int) -> None:
    assert library_name(io.BytesIO(system_library("libz.so.1")[:size]), X86) is None
