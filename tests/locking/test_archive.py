import shutil

import pytest

from harness.errors import IntegrityError, PrerequisiteError, UsageError
from harness.locking.archive import read_package_index, read_release

RELEASE = "dists/testing/InRelease"
PACKAGES = "dists/testing/main/binary-amd64/Packages.xz"

pytestmark = pytest.mark.needs("gpgv")


def release(keyring, environment, suite="testing"):
    return read_release(suite, keyrings=[keyring], environment=environment)


def packages(keyring, environment, component="main", architecture="amd64"):
    return read_package_index(release(keyring, environment), component=component, architecture=architecture)


def test_a_signed_release_leads_to_its_package_list(keyring, environment):
    found = release(keyring, environment)
    assert found.snapshot == "20260712T101637Z"
    assert [candidate.version for candidate in packages(keyring, environment).named("app")] == ["1:1.0-1"]


def test_a_release_with_one_changed_byte_is_refused(keyring, environment, mirror):
    path = mirror / RELEASE
    path.write_bytes(path.read_bytes().replace(b"Origin: Test", b"Origin: Tent"))
    with pytest.raises(IntegrityError, match="no good signature"):
        release(keyring, environment)


def test_a_release_without_a_signature_is_refused(keyring, environment, mirror):
    (mirror / RELEASE).write_text("Codename: testing\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nSHA256:\n")
    with pytest.raises(IntegrityError, match="no good signature"):
        release(keyring, environment)


def test_a_release_signed_with_a_key_that_is_not_known_is_refused(environment, tmp_path):
    (tmp_path / "empty.gpg").write_bytes(b"")
    with pytest.raises(IntegrityError, match="no good signature"):
        release(tmp_path / "empty.gpg", environment)


def test_what_stands_outside_the_signature_counts_for_nothing(keyring, environment, mirror):
    path = mirror / RELEASE
    path.write_bytes(b"Codename: evil\nSHA256:\n\n" + path.read_bytes())
    try:
        found = release(keyring, environment)
    except IntegrityError:
        return
    assert found.suite == "testing"
    assert list(found.files) == ["main/binary-amd64/Packages.xz"]


def test_a_release_of_another_suite_is_refused(keyring, environment, mirror):
    shutil.copytree(mirror / "dists" / "testing", mirror / "dists" / "bookworm")
    with pytest.raises(IntegrityError, match="is for 'testing', not 'bookworm'"):
        release(keyring, environment, "bookworm")


def test_a_package_list_with_other_bytes_is_refused(keyring, environment, mirror):
    path = mirror / PACKAGES
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="other bytes than the release file names"):
        packages(keyring, environment)


def test_a_package_list_that_is_not_served_is_no_integrity_failure(keyring, environment, mirror):
    (mirror / PACKAGES).unlink()
    with pytest.raises(PrerequisiteError, match="cannot be had"):
        packages(keyring, environment)


@pytest.mark.parametrize(("component", "architecture"), [("non-free", "amd64"), ("main", "riscv64")])
def test_a_component_or_architecture_that_there_is_not_is_named(keyring, environment, component, architecture):
    with pytest.raises(UsageError, match=f"no {component}/binary-{architecture}"):
        packages(keyring, environment, component, architecture)


def test_without_keys_or_gpgv_or_a_mirror_it_is_said_what_is_missing(keyring, environment, monkeypatch, tmp_path):
    with pytest.raises(PrerequisiteError) as caught:
        release(tmp_path / "nowhere.gpg", environment)
    assert "Install debian-archive-keyring" in str(caught.value)
    with pytest.raises(PrerequisiteError) as caught:
        release(keyring, {**environment, "HARNESS_DEBIAN_MIRROR": ""})
    assert "Set HARNESS_DEBIAN_MIRROR" in str(caught.value)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError) as caught:
        release(keyring, environment)
    assert "Install gpgv" in str(caught.value)
