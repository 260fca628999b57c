import hashlib
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.record.hashing import digest_of, digest_of_array, digest_of_file, signature


def test_the_digest_is_sha256_of_all_bytes() -> None:
    # FIPS 180-2, appendix B.1.
    assert digest_of(b"abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_change_past_the_first_megabyte_changes_a_files_digest(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npy"
    data = bytearray(3 << 20)
    path.write_bytes(data)
    before = digest_of_file(path)
    assert before == f"sha256:{hashlib.sha256(data).hexdigest()}"
    data[-1] = 1
    path.write_bytes(data)
    assert digest_of_file(path) != before


def test_a_files_digest_does_not_depend_on_its_name_or_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"same")
    (tmp_path / "b").write_bytes(b"same")
    assert digest_of_file(tmp_path / "a") == digest_of_file(tmp_path / "b")


def test_a_signature_keeps_floats_exact_and_lists_in_order() -> None:
    assert signature({"x": 0.1 + 0.2}) != signature({"x": 0.3})
    assert signature(["b", "a"]) != signature(["a", "b"])
    assert signature({"b": 1, "a": 2}) == signature({"a": 2, "b": 1})


class FakeArray:
    """As much of an array as is hashed, for where there is no NumPy."""

    def __init__(self, name: str, shape: tuple[int, ...], data: bytes) -> None:
        self.dtype = SimpleNamespace(str=name, kind=name[1])
        self.shape = shape
        self.data = data

    def tobytes(self) -> bytes:
        return self.data


def test_type_shape_and_every_byte_of_an_array_count() -> None:
    data = struct.pack("<4d", 1, 2, 3, 4)
    arrays = [("<f8", (4,), data), (">f8", (4,), data), ("<f8", (2, 2), data), ("<f8", (4,), data[:-1] + b"\0")]
    assert len({digest_of_array(FakeArray(*array)) for array in arrays}) == 4
    header = b'{"dtype":"<f8","shape":[4]}\n'
    assert digest_of_array(FakeArray("<f8", (4,), data)) == digest_of(header + data)


@pytest.mark.parametrize("name", ["|O", "|V16", "<f16", "<c32", "<f12"])
def test_elements_whose_bytes_are_not_their_value_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match="no exact digest"):
        digest_of_array(FakeArray(name, (1,), b""))


class TestArrays:
    @pytest.fixture(autouse=True)
    def _numpy(self) -> None:
        self.np = pytest.importorskip("numpy")

    def test_one_bit_shape_type_and_byte_order_count(self) -> None:
        np = self.np
        base = np.arange(6, dtype="<f8")
        flipped = base.copy()
        flipped.view("<u8")[3] ^= np.uint64(1)
        others = [flipped, base.reshape(2, 3), base.astype("<f4"), base.astype(">f8"), base.view("<i8"), -base]
        digests = {digest_of_array(array) for array in [base, *others]}
        assert len(digests) == 7

    def test_zero_has_a_sign(self) -> None:
        assert digest_of_array(self.np.array([0.0])) != digest_of_array(self.np.array([-0.0]))

    def test_layout_in_memory_does_not_count(self) -> None:
        base = self.np.arange(12.0).reshape(3, 4)
        assert digest_of_array(self.np.asfortranarray(base)) == digest_of_array(base)
        assert digest_of_array(base[:, ::2]) == digest_of_array(base[:, ::2].copy())

    def test_what_has_no_exact_bytes_is_refused(self) -> None:
        np = self.np
        arrays = [
            np.array([object()]),
            np.zeros(2, dtype=[("a", "<f8")]),
            np.zeros(2, dtype=np.longdouble),
            np.zeros(2, dtype=np.clongdouble),
        ]
        for array in arrays:
            with pytest.raises(TypeError, match="no exact digest"):
                digest_of_array(array)
