import hashlib
from pathlib import Path

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


class TestArrays:
    @pytest.fixture(autouse=True)
    def _numpy(self) -> None:
        self.np = pytest.importorskip("numpy")

    def test_one_bit_shape_type_and_byte_order_count(self) -> None:
        np = self.np
        base = np.arange(6, dtype="<f8")
        flipped = base.copy()
        flipped.view("<u8")[3] ^= 1
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
