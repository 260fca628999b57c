"""An installed wheel is held to its own list, file for file."""

import base64
import hashlib
import os
from pathlib import Path

import pytest

from harness.engines.installed import check_installed
from harness.errors import ExitCode, IntegrityError

FILES = {"alpha/__init__.py": b"VALUE = 1\n", "alpha/core.so": os.urandom(5000), "../../../bin/alpha": b"#!/bin/sh\n"}


def stated(data: bytes, algorithm: str = "sha256") -> str:
    digest = hashlib.new(algorithm, data).digest()
    return f"{algorithm}={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def install(folder: Path, name: str, files: dict[str, bytes], algorithm: str = "sha256") -> Path:
    """The files of a distribution below a virtual environment, and its RECORD."""
    site = folder / "lib" / "python3.11" / "site-packages"
    rows = [f"{name}-1.0.dist-info/RECORD,,"]
    (site / f"{name}-1.0.dist-info").mkdir(parents=True)
    for path, data in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(data)
        rows.append(f"{path},{stated(data, algorithm)},{len(data)}")
    record = site / f"{name}-1.0.dist-info" / "RECORD"
    record.write_text("\n".join(rows) + "\n")
    return site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    install(tmp_path, "alpha", FILES)
    return install(tmp_path, "beta", {"beta.py": b"import alpha\n"})


def refusal(folder: Path) -> str:
    with pytest.raises(IntegrityError) as refused:
        check_installed(folder)
    assert refused.value.exit_code == ExitCode.INTEGRITY
    assert f"Remove {folder}" in (refused.value.hint or "")
    return refused.value.message


def test_what_is_as_it_was_installed_passes(site: Path, tmp_path: Path) -> None:
    check_installed(tmp_path)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_changed_byte_is_refused_by_the_files_name_though_size_and_times_are_as_they_were(
    site: Path, tmp_path: Path, name: str
) -> None:
    path = site / name
    before, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert refusal(tmp_path) == (
        f"The host environment was altered: {path.resolve()} is not the file that its wheel's RECORD lists"
    )
    data[-1] ^= 1
    path.write_bytes(data)
    check_installed(tmp_path)


def test_how_many_more_there_are_is_said(site: Path, tmp_path: Path) -> None:
    for name in FILES:
        (site / name).write_bytes(b"another")
    assert "(2 more files are not as they were)" in refusal(tmp_path)


def removed(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize("change", [removed, a_folder, a_pipe, a_loop])
def test_a_file_that_is_gone_is_refused_whatever_is_in_its_place(site: Path, tmp_path: Path, change) -> None:
    change(site / "alpha" / "core.so")
    assert "core.so is not there" in refusal(tmp_path)


@pytest.mark.parametrize(
    "row", ["alpha/more.py,sha256=x", "alpha/__init__.py,md5=x,10", 'alpha/"x,sha256=\udcff,1', 'x,"sha256=x,1']
)
def test_a_list_that_cannot_be_read_is_refused(site: Path, tmp_path: Path, row: str) -> None:
    record = site / "alpha-1.0.dist-info" / "RECORD"
    record.write_bytes(record.read_bytes() + row.encode(errors="surrogateescape") + b"\n")
    assert "RECORD cannot be read" in refusal(tmp_path)


def test_stronger_hashes_count_too(tmp_path: Path) -> None:
    site = install(tmp_path, "gamma", {"gamma.py": b"x = 1\n"}, algorithm="sha512")
    check_installed(tmp_path)
    (site / "gamma.py").write_bytes(b"x = 2\n")
    assert "gamma.py" in refusal(tmp_path)


def test_a_file_that_two_wheels_bring_is_that_of_either(tmp_path: Path) -> None:
    install(tmp_path, "one", {"shared/__init__.py": b""})
    site = install(tmp_path, "two", {"shared/__init__.py": b"# two\n"})
    check_installed(tmp_path)
    (site / "shared/__init__.py").write_bytes(b"# three\n")
    assert "shared" in refusal(tmp_path)


def test_what_no_list_names_is_nobodys(site: Path, tmp_path: Path) -> None:
    (site / "alpha" / "__pycache__").mkdir()
    (site / "alpha" / "__pycache__" / "core.cpython-311.pyc").write_bytes(b"compiled")
    check_installed(tmp_path)
