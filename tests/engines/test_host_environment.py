import base64
import hashlib
import platform
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from packaging.tags import Tag

from harness.engines.host_environment import ensure_environment, unfit_wheels
from harness.engines.installed import check_installed
from harness.errors import HarnessError, IntegrityError, PrerequisiteError
from harness.locking.python import LockedWheel, PythonLock, encode_python_lock
from harness.spec.digest import digest_from_hex
from harness.store.progress import SILENT
from harness.store.store import Store

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def stated(content: str) -> str:
    """A hash as RECORD writes it."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"


def make_wheel(folder: Path, name: str, tag: str = "py3-none-any", *, text: str = "VALUE = 1\n") -> LockedWheel:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-{tag}.whl"
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{file},{stated(content)},{len(content)}\n" for file, content in files.items())
    record += f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(file), content)
    return LockedWheel(name, "1.0", path.name, digest_from_hex(hashlib.sha256(path.read_bytes()).hexdigest()))


def write_lock(root: Path, *wheels: LockedWheel, version: str = VERSION, machine: str = "x86_64") -> None:
    lock = PythonLock(
        inputs=digest_from_hex("0" * 64), version=version, platform=f"{machine}-manylinux_2_36", wheels=tuple(wheels)
    )
    (root / "lockfiles/cpu").mkdir(parents=True, exist_ok=True)
    (root / "lockfiles/cpu/python.txt").write_bytes(encode_python_lock(lock))


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_the_environment_holds_the_locks_wheels_and_is_made_once(tmp_path: Path, wheels: Path, store: Store) -> None:
    write_lock(tmp_path, make_wheel(wheels, "alpha"), make_wheel(wheels, "beta", text="VALUE = 2\n"))
    interpreter = ensure_environment(tmp_path, store, SILENT)
    code = "import alpha, beta, sys; print(alpha.VALUE, beta.VALUE, sys.prefix != sys.base_prefix, alpha.__cached__)"
    printed = subprocess.check_output([interpreter, "-c", code], text=True).split()
    assert printed[:3] == ["1", "2", "True"]
    assert Path(printed[3]).is_file()
    assert str(store.home) in printed[3]
    made = interpreter.stat().st_ctime_ns
    assert ensure_environment(tmp_path, store, SILENT) == interpreter
    assert interpreter.stat().st_ctime_ns == made
    assert list(store.temporary.iterdir()) == []


def test_a_file_that_was_edited_after_it_was_installed_is_told_by_its_wheels_list(
    tmp_path: Path, wheels: Path, store: Store
) -> None:
    write_lock(tmp_path, make_wheel(wheels, "alpha"), make_wheel(wheels, "beta", text="VALUE = 2\n"))
    folder = ensure_environment(tmp_path, store, SILENT).parents[1]
    check_installed(folder)
    (module,) = folder.glob("lib/python*/site-packages/beta.py")
    module.write_text("VALUE = 3\n")
    with pytest.raises(IntegrityError, match=r"beta\.py is not the file that its wheel's RECORD lists") as refused:
        check_installed(folder)
    assert f"Remove {folder}" in (refused.value.hint or "")
    shutil.rmtree(folder)
    assert ensure_environment(tmp_path, store, SILENT).parents[1] == folder
    check_installed(folder)


def test_another_lock_is_another_environment(tmp_path: Path, wheels: Path, store: Store) -> None:
    write_lock(tmp_path, make_wheel(wheels, "alpha"))
    first = ensure_environment(tmp_path, store, SILENT)
    write_lock(tmp_path, make_wheel(wheels, "alpha"), make_wheel(wheels, "beta"))
    assert ensure_environment(tmp_path, store, SILENT) != first
    assert first.exists()


def test_two_who_ask_at_once_get_the_same_environment(tmp_path: Path, wheels: Path, store: Store) -> None:
    write_lock(tmp_path, make_wheel(wheels, "alpha"))
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(ensure_environment(tmp_path, store, SILENT))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1]


def test_the_callers_own_uv_settings_are_not_let_in(
    tmp_path: Path, wheels: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_PYTHON", "2.7")
    monkeypatch.setenv("UV_TARGET", str(tmp_path / "elsewhere"))
    (tmp_path / "uv.toml").write_text("nonsense = [")
    monkeypatch.chdir(tmp_path)
    write_lock(tmp_path, make_wheel(wheels, "alpha"))
    subprocess.check_call([ensure_environment(tmp_path, store, SILENT), "-c", "import alpha"])
    assert not (tmp_path / "elsewhere").exists()


def test_a_wheel_with_a_flipped_byte_is_refused_and_nothing_is_left(tmp_path: Path, wheels: Path, store: Store) -> None:
    wheel = make_wheel(wheels, "alpha")
    write_lock(tmp_path, wheel)
    data = bytearray((wheels / wheel.filename).read_bytes())
    data[60] ^= 1
    (wheels / wheel.filename).write_bytes(data)
    with pytest.raises(HarnessError, match=r"alpha-1\.0-py3-none-any\.whl"):
        ensure_environment(tmp_path, store, SILENT)
    assert not list((store.home / "environments").glob("*/*"))


def test_a_wheel_altered_in_the_store_is_refused(tmp_path: Path, wheels: Path, store: Store) -> None:
    wheel = make_wheel(wheels, "alpha")
    write_lock(tmp_path, wheel)
    store.put_file(wheels / wheel.filename)
    path = store.path(wheel.digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match="altered or truncated"):
        ensure_environment(tmp_path, store, SILENT)


def test_a_machine_that_the_wheels_are_not_for_is_told_so(tmp_path: Path, wheels: Path, store: Store) -> None:
    other = "x86_64" if platform.machine() == "aarch64" else "aarch64"
    tag = f"py3-none-manylinux_2_17_{other}"
    write_lock(tmp_path, make_wheel(wheels, "alpha"), make_wheel(wheels, "beta", tag), machine=other)
    with pytest.raises(PrerequisiteError, match=rf"cannot take 1 wheels of .*beta-1\.0-{tag}\.whl") as caught:
        ensure_environment(tmp_path, store, SILENT)
    assert "--engine docker" in str(caught.value)


def test_a_python_that_is_not_here_is_named(
    tmp_path: Path, wheels: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lock(tmp_path, make_wheel(wheels, "alpha"), version="3.99")
    with pytest.raises(PrerequisiteError, match=r"needs CPython 3\.99, and python3\.99 is not on PATH"):
        ensure_environment(tmp_path, store, SILENT)


def test_a_wheel_fits_where_one_of_its_tags_does() -> None:
    both = "a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    wheels = [LockedWheel("a", "1", both, digest_from_hex("0" * 64))]
    assert unfit_wheels(wheels, [Tag("cp311", "cp311", "manylinux2014_x86_64")]) == []
    assert unfit_wheels(wheels, [Tag("cp311", "cp311", "manylinux2014_aarch64")]) == [both]
