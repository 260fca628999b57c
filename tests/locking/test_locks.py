import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import IntegrityError, UsageError
from harness.locking.datasets import find_dataset, read_datasets_lock
from harness.locking.debian import read_debian_lock
from harness.locking.lockfile import encode_lock
from harness.locking.python import encode_python_lock, read_python_lock
from harness.locking.requirements import read_requirements
from harness.locking.resolve import target_tags

LOCKFILES = Path(__file__).parents[2] / "lockfiles"
DEBIAN, PYTHON, DATASETS = (
    LOCKFILES / "cpu" / "debian.lock",
    LOCKFILES / "cpu" / "python.txt",
    LOCKFILES / "datasets.lock",
)
REQUIREMENTS = ("host.txt", "dev.txt", "inside-test.txt")


def changed(path: Path, tmp_path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    copy = tmp_path / path.name
    copy.write_text(text.replace(old, new, 1))
    return copy


IMAGES = sorted(path.parent.name for path in LOCKFILES.glob("*/debian.lock"))


def test_every_image_has_its_locks():
    assert IMAGES == ["cpu", "cpu-arm64", "cpu-prev", "cuda", "trixie"]


@pytest.mark.parametrize("image", IMAGES)
def test_committed_locks_come_out_as_they_went_in(image):
    debian, python = LOCKFILES / image / "debian.lock", LOCKFILES / image / "python.txt"
    assert encode_lock(read_debian_lock(debian)) == debian.read_bytes()
    assert encode_python_lock(read_python_lock(python)) == python.read_bytes()
    assert encode_lock(read_datasets_lock(DATASETS)) == DATASETS.read_bytes()


def test_the_images_share_their_debian_packages_and_so_that_layer():
    first, other = [(LOCKFILES / image / "debian.lock").read_bytes() for image in ("cpu", "cpu-prev")]
    assert other == first


def test_committed_locks_name_no_host():
    for path in sorted(LOCKFILES.rglob("*")):
        if path.is_file():
            assert "://" not in path.read_text(), path
            assert "--index-url" not in path.read_text(), path


@pytest.mark.parametrize("image", IMAGES)
def test_every_locked_wheel_fits_the_platform(image):
    from packaging.utils import parse_wheel_filename

    lock = read_python_lock(LOCKFILES / image / "python.txt")
    fitting = set(target_tags(lock.version, lock.platform))
    for wheel in lock.wheels:
        assert parse_wheel_filename(wheel.filename)[3] & fitting, wheel.filename


@pytest.mark.parametrize("path", [PYTHON, *(LOCKFILES / name for name in REQUIREMENTS)])
def test_pip_reads_every_requirements_lock_as_hash_checked(path):
    script = (
        "import sys\nfrom pip._internal.req.req_file import parse_requirements\n"
        "from pip._internal.network.session import PipSession\n"
        "found = list(parse_requirements(sys.argv[1], session=PipSession()))\n"
        "assert found and all(item.options.get('hashes') for item in found)\nprint(len(found))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    if "No module named 'pip" in done.stderr:
        pytest.skip("pip is not in this environment")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == sum(not line.startswith(("#", " ", "\n")) for line in path.open())


LIBC6 = '"path": "pool/main/g/glibc/libc6_2.36-9+deb12u14_amd64.deb"'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (LIBC6, '"path": "pool/main/../../../etc/passwd.deb"'),
        (LIBC6, '"path": "/pool/main/g/glibc/libc6.deb"'),
        (LIBC6, '"path": "http://mirror.test/pool/libc6.deb"'),
        (LIBC6, '"path": "pool/main/g/./libc6.deb"'),
        (LIBC6, '"path": "pool/main//libc6.deb"'),
        ('"name": "libc6"', '"name": "base-files"'),
        ('"name": "libc6"', '"name": "zzz"'),
        ('"name": "libc6"', '"name": "../x"'),
        ('      "name": "libc6",\n', ""),
        ('      "name": "libc6",\n', '      "name": "libc6",\n      "name": "libc6",\n'),
        ('"digest": "sha256:ba4f88f7', '"digest": "md5:ba4f88f7'),
        ('"digest": "sha256:ba4f88f7', '"digest": "sha256:BA4F88F7'),
        ('"size": 2759320', '"size": 0'),
        ('"size": 2759320', '"size": "2759320"'),
        ('"architecture": "amd64",\n      "path"', '"architecture": "arm64",\n      "path"'),
        ('"schema": "harness.debian-lock/2"', '"schema": "harness.debian-lock/1"'),
        ('"snapshot": "2', '"snapshot": "../2'),
        ('  "suite"', '  "unknown": 1,\n  "suite"'),
        ("\n}", "\n}\n\n"),
        ("{\n", "{"),
    ],
)
def test_a_debian_lock_with_anything_changed_in_its_form_is_refused(tmp_path, old, new):
    path = changed(DEBIAN, tmp_path, old, new)
    with pytest.raises(IntegrityError, match=str(path)):
        read_debian_lock(path)


def test_a_debian_lock_with_a_package_twice_or_two_with_one_file_is_refused(tmp_path):
    import msgspec

    lock = read_debian_lock(DEBIAN)
    first, second = lock.packages[:2]
    for packages in ((first, first), (first, msgspec.structs.replace(second, path=first.path)), (second, first)):
        path = tmp_path / "debian.lock"
        path.write_bytes(encode_lock(msgspec.structs.replace(lock, packages=packages)))
        with pytest.raises(IntegrityError):
            read_debian_lock(path)


NUMPY = "    --hash=sha256:89cd4683"


def numpy_entry() -> tuple[str, str, str]:
    lines = PYTHON.read_text().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if line.startswith("numpy=="))
    return lines[place - 1], lines[place], lines[place + 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda comment, name, line: name + line,
        lambda comment, name, line: comment + name.replace(" \\", ""),
        lambda comment, name, line: comment + name + line.replace("\n", " \\\n") + line,
        lambda comment, name, line: comment + name + line.replace("sha256", "md5"),
        lambda comment, name, line: comment + name + line[:-3] + "\n",
        lambda comment, name, line: comment + name.replace("==", ">=") + line,
        lambda comment, name, line: comment + "numpy @ https://host.test/numpy.whl \\\n" + line,
        lambda comment, name, line: comment + name + line + "--index-url https://host.test/simple\n",
        lambda comment, name, line: comment + name + line + "\n" + comment + name + line,
        lambda comment, name, line: comment.replace("numpy-", "../numpy-") + name + line,
        lambda comment, name, line: comment.replace("numpy-", "scipy-") + name + line,
        lambda comment, name, line: comment.replace(".whl", ".tar.gz") + name + line,
        lambda comment, name, line: comment + name.replace("numpy", "NumPy") + line,
        lambda comment, name, line: comment + name.replace("==2", "==3") + line,
        lambda comment, name, line: comment + name.replace(" \\", " ; python_version > '3' \\") + line,
    ],
)
def test_a_python_lock_with_anything_but_one_hash_for_each_wheel_is_refused(tmp_path, change):
    entry = numpy_entry()
    path = changed(PYTHON, tmp_path, "".join(entry), change(*entry))
    with pytest.raises(IntegrityError, match=str(path)):
        read_python_lock(path)


def test_a_python_lock_in_another_order_or_without_its_header_is_refused(tmp_path):
    path = tmp_path / "python.txt"
    head, *entries = PYTHON.read_text().rstrip("\n").split("\n\n")
    path.write_text("\n\n".join([head, *reversed(entries)]) + "\n")
    with pytest.raises(IntegrityError, match="not sorted"):
        read_python_lock(path)
    path.write_text("\n\n".join(entries) + "\n")
    with pytest.raises(IntegrityError, match="does not begin"):
        read_python_lock(path)
    path.write_bytes(b"\xff")
    with pytest.raises(IntegrityError, match="UTF-8"):
        read_python_lock(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\ndocker==", "\n--index-url https://host.test\ndocker=="),
        ("\ndocker==", "\ndocker>="),
        ("\ndocker==", "\ndocker==7.*,=="),
        ("\ndocker==", "\ndocker @ https://host.test/docker.whl#"),
        ("\ndocker==", "\ncertifi=="),
        ("--hash=sha256:", "--hash=sha1:"),
        ("# inputs: sha256:", "# inputs: "),
    ],
)
def test_a_requirements_lock_with_anything_but_versions_and_hashes_is_refused(tmp_path, old, new):
    with pytest.raises(IntegrityError, match=r"host\.txt"):
        read_requirements(changed(LOCKFILES / "host.txt", tmp_path, old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"member": "skfolio/', '"member": "../skfolio/'),
        ('"member": "skfolio/', '"member": "/skfolio/'),
        ('"filename": "skfolio', '"filename": "../skfolio'),
        ('"filename": "skfolio', '"filename": "https://host.test/skfolio'),
        ('"layout": "wide"', '"layout": "round"'),
        ('      "licence": "BSD-3-Clause",\n', ""),
    ],
)
def test_a_datasets_lock_with_anything_odd_is_refused(tmp_path, old, new):
    with pytest.raises(IntegrityError, match=r"datasets\.lock"):
        read_datasets_lock(changed(DATASETS, tmp_path, old, new))


def test_an_unknown_dataset_is_named_with_those_there_are():
    with pytest.raises(UsageError, match="no dataset 'nowhere'") as caught:
        find_dataset(DATASETS, "nowhere")
    assert "sp500" in str(caught.value)


@pytest.mark.parametrize("read", [read_debian_lock, read_python_lock, read_datasets_lock, read_requirements])
def test_a_lock_that_is_not_there_is_named_with_what_to_do(tmp_path, read):
    with pytest.raises(UsageError, match=r"gone.*cannot be read") as caught:
        read(tmp_path / "gone")
    assert "harness lock" in str(caught.value)
