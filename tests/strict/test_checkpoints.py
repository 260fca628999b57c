import json
import os
import pickle
import struct
import subprocess
import sys
from collections import Counter, OrderedDict
from hashlib import sha256
from pathlib import Path

import pytest

from harness.errors import IncomparableError, IntegrityError, PrerequisiteError, UsageError
from harness.strict.checkpoints import Checkpoints

np = pytest.importorskip("numpy")


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def checkpoints(folder) -> Checkpoints:
    return Checkpoints(folder, identity="code: 1\nseed: 42\n")


def saved_and_loaded(checkpoints: Checkpoints, value):
    step = len(checkpoints.paths()) and int(checkpoints.paths()[-1].stem[5:]) + 1
    checkpoints.save(step, {"value": value})
    return checkpoints.load().state["value"]


def forge(path: Path, head: object, data: bytes = b"") -> None:
    """A checkpoint with a right digest and length around whatever a hostile writer puts into it."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    body = len(text).to_bytes(8, "little") + text
    body += bytes(-len(body) % 64) + data if data else b""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"harness.checkpoint/1 sha256:%s %020d\n" % (sha256(body).hexdigest().encode(), len(body)) + body)


def head(state: object, arrays: object = (), **changes: object) -> dict:
    return {"step": 1, "identity": "code: 1\nseed: 42\n", "arrays": list(arrays), "state": state, **changes}


def test_there_is_nothing_to_load_before_the_first_is_saved(checkpoints) -> None:
    assert checkpoints.load() is None


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -1, 2**53, -(2**64), 10**6000, -(10**5000), "", "é\ud800\0", b"", b"\0\xff" * 100,
        [], (), {}, [(), [{}]], {1: "a", None: 2, (1, "x", b"y"): [1], b"k": {}, 2.5: (), "s": None},
        OrderedDict(b=1, a=2), Counter("aab"), 0.1, -0.0, float("inf"), 5e-324,
    ],
    ids=lambda value: repr(value)[:30] if not isinstance(value, int) or abs(value) < 2**70 else "a long integer",
)  # fmt: skip
def test_values_come_back_with_their_types(checkpoints, value) -> None:
    found = saved_and_loaded(checkpoints, value)
    assert type(found) is type(value)
    assert found == value
    if type(value) is dict:
        assert [type(key) for key in found] == [type(key) for key in value]
    if type(value) is float:
        assert struct.pack(">d", found) == struct.pack(">d", value)


def test_the_bits_of_a_nan_come_back(checkpoints) -> None:
    bits = bytes.fromhex("fff8000000abcdef")
    assert struct.pack(">d", saved_and_loaded(checkpoints, struct.unpack(">d", bits)[0])) == bits


ARRAYS = {
    "c": np.arange(24.0).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(12, dtype="f4").reshape(3, 4)),
    "middle axis slowest": np.arange(24).reshape(3, 2, 4).transpose(1, 0, 2),
    "backwards": np.arange(10)[::-1],
    "every other": np.arange(20).reshape(4, 5)[::2, 1::2],
    "no axes": np.array(7, "u2"),
    "no rows": np.zeros((0, 5)),
    "big-endian": np.arange(3, dtype=">i4"),
    "texts": np.array(["a", "bcd", "é"]),
    "texts without letters": np.array(["", ""], "U0"),
    "bytes": np.array([b"a", b"bc"]),
    "days": np.array(["2020-01-01", "NaT"], "M8[D]"),
    "complex": np.array([1 + 2j, complex("nan")]),
    "bool": np.array([True, False]),
    "half": np.array([1.5, np.inf], "f2"),
    "long double": np.array([1.5], np.longdouble),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_with_dtype_shape_bytes_and_axes(checkpoints, name: str) -> None:
    array = ARRAYS[name]
    found = saved_and_loaded(checkpoints, array)
    assert (found.dtype.str, found.shape) == (array.dtype.str, array.shape)
    assert found.tobytes() == array.tobytes()
    assert (found.flags.f_contiguous, found.flags.c_contiguous) == (
        np.copy(array, order="K").flags.f_contiguous,
        np.copy(array, order="K").flags.c_contiguous,
    )
    assert found.flags.writeable


def test_numpys_scalars_stay_what_they_are(checkpoints) -> None:
    for value in (np.float64(0.1), np.float32(0.1), np.int8(-3), np.bool_(True)):
        found = saved_and_loaded(checkpoints, value)
        assert (type(found), found) == (type(value), value)


def test_tensors_of_every_dtype_and_layout_come_back(checkpoints) -> None:
    torch = pytest.importorskip("torch")
    names = (
        "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "bfloat16",
        "float32", "float64", "complex64", "complex128", "float8_e4m3fn",
    )  # fmt: skip
    tensors = {name: torch.arange(24).reshape(2, 3, 4).to(getattr(torch, name)) for name in names} | {
        "no axes": torch.tensor(3.5, dtype=torch.bfloat16),
        "empty": torch.empty(0, 3),
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 4).T,
    }
    others = {
        "every other": torch.randn(6, 6)[::2, 1::2],
        "expanded": torch.ones(1).expand(4, 5),
        "conjugate": torch.randn(3, dtype=torch.complex64).conj(),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }
    found = saved_and_loaded(checkpoints, tensors | others)
    for name, tensor in (tensors | others).items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(found[name].to(torch.complex128), tensor.detach().to(torch.complex128)), name
        assert not found[name].requires_grad
    for name, tensor in tensors.items():
        assert found[name].stride() == tensor.stride(), name


def test_tensors_that_share_memory_come_back_apart(checkpoints) -> None:
    torch = pytest.importorskip("torch")
    shared = torch.zeros(3)
    one, other = saved_and_loaded(checkpoints, [shared, shared])
    one += 1
    assert other.tolist() == [0, 0, 0]


def test_a_tensor_on_a_gpu_comes_back_on_the_cpu_unless_asked_otherwise(checkpoints) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    checkpoints.save(0, {"x": torch.ones(3, device="cuda")})
    assert checkpoints.load().state["x"].device.type == "cpu"
    assert checkpoints.load(on_saved_devices=True).state["x"].device.type == "cuda"


def test_a_device_that_is_not_here_is_named_where_it_is_asked_for(checkpoints) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    checkpoints.save(1, {})
    forge(checkpoints.paths()[0], head(["dict", ["x", ["tensor", 0, "cuda:0"]]], [["torch.int8", [1], [0], 1]]), b"\1")
    assert checkpoints.load().state["x"].tolist() == [1]
    with pytest.raises(PrerequisiteError, match="on cuda:0, which is not here"):
        checkpoints.load(on_saved_devices=True)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (object(), r"the state\['a'\]\[0\] is a builtins.object"),
        ({1}, "builtins.set"),
        (len, "builtins.builtin_function_or_method"),
        (Path(), "pathlib"),
        (np.array([object()]), "array of object"),
        (np.zeros(2, [("a", "i4")]), "array of"),
        (np.ma.zeros(2), "MaskedArray"),
        (pickle.dumps, "function"),
    ],
    ids=["object", "set", "builtin", "path", "array of objects", "records", "masked", "function"],
)
def test_what_cannot_be_kept_is_refused_by_its_place(checkpoints, value, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        checkpoints.save(1, {"a": [value]})
    assert checkpoints.paths() == []


def test_a_state_that_holds_itself_is_refused(checkpoints) -> None:
    state: dict = {}
    state["again"] = state
    with pytest.raises(UsageError, match="nested more than 100 levels"):
        checkpoints.save(1, state)


@pytest.mark.parametrize("step", [-1, True, 1.0, 10**18, "1"])
def test_what_is_no_step_is_refused(checkpoints, step) -> None:
    with pytest.raises(UsageError, match="no step"):
        checkpoints.save(step, {})


def test_the_newest_are_kept_and_the_last_is_loaded(folder) -> None:
    checkpoints = Checkpoints(folder, identity="a", keep=3)
    for step in range(10):
        checkpoints.save(step, {"step": step})
    assert [path.name for path in checkpoints.paths()] == [f"step-000000000{step}.checkpoint" for step in (7, 8, 9)]
    assert checkpoints.load()[:2] == (9, {"step": 9})


def test_to_keep_fewer_than_two_is_refused(folder) -> None:
    with pytest.raises(UsageError, match="2 or more"):
        Checkpoints(folder, identity="a", keep=1)


def test_the_same_state_gives_the_same_bytes(tmp_path) -> None:
    files = [Checkpoints(tmp_path / name, identity="a").save(3, {"x": np.arange(5), "y": 0.1}) for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_another_identity_is_refused_and_what_differs_is_said(checkpoints, folder) -> None:
    checkpoints.save(1, {})
    with pytest.raises(IncomparableError, match="'seed: 42', and here it is 'seed: 43'") as refused:
        Checkpoints(folder, identity="code: 1\nseed: 43\n").load()
    assert refused.value.exit_code == 3


def test_an_earlier_step_than_the_newest_is_not_saved(checkpoints) -> None:
    checkpoints.save(5, {})
    with pytest.raises(UsageError, match="step 5, later than step 4"):
        checkpoints.save(4, {})


@pytest.fixture
def three(checkpoints) -> Checkpoints:
    checkpoints.keep = 3
    for step in (40, 80, 120):
        checkpoints.save(step, {"step": step, "array": np.arange(50.0), "text": "é", "float": 0.5})
    return checkpoints


def places(data: bytes) -> dict[str, int]:
    """Where a byte can be wrong: each part of the first line, the tree's length, the tree, padding, an array."""
    line = data.index(b"\n")
    size = int.from_bytes(data[line + 1 : line + 9], "little")
    tree = line + 9
    return {
        "schema": 3,
        "version": data.index(b"/1") + 1,
        "digest's name": data.index(b"sha256"),
        "digest": data.index(b":") + 5,
        "length": line - 1,
        "newline": line,
        "tree's length": line + 1,
        "tree's length, high byte": line + 8,
        "tree": tree,
        "identity": data.index(b"seed"),
        "state": tree + size - 10,
        "padding": tree + size + 1,
        "array": len(data) - 100,
        "last byte": len(data) - 1,
    }


@pytest.mark.parametrize("place", places(b"harness/1 sha256: \n" + bytes(200) + b"seed"))
def test_a_flipped_bit_is_refused_by_the_files_name_and_the_one_before_is_offered(three, place: str) -> None:
    path = three.paths()[-1]
    data = bytearray(path.read_bytes())
    data[places(bytes(data))[place]] ^= 1
    path.write_bytes(data)
    with pytest.raises((IntegrityError, UsageError)) as refused:
        three.load()
    assert str(path) in refused.value.message
    if place != "version":
        assert refused.value.exit_code == 4
        assert "go on from step 80" in refused.value.hint
        assert "--resume-before 120" in refused.value.hint
    assert three.load(before=120).step == three.load().step == 80
    assert not path.exists()


@pytest.mark.parametrize("kept", [0, 1, 50, 111, 112, 116, 120, 300, -1])
def test_a_truncated_file_is_said_to_be_truncated(three, kept: int) -> None:
    path = three.paths()[-1]
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(IntegrityError, match="truncated") as refused:
        three.load()
    assert "go on from step 80" in refused.value.hint


def test_a_file_that_grew_is_refused(three) -> None:
    with three.paths()[-1].open("ab") as file:
        file.write(b"\0")
    with pytest.raises(IntegrityError, match="longer than written"):
        three.load()


def test_what_is_offered_is_itself_intact(three) -> None:
    for path in three.paths()[1:]:
        path.write_bytes(b"")
    with pytest.raises(IntegrityError) as refused:
        three.load()
    assert "go on from step 40" in refused.value.hint
    three.paths()[0].write_bytes(b"")
    with pytest.raises(IntegrityError) as refused:
        three.load()
    assert "no intact checkpoint before it" in refused.value.hint


def test_a_file_under_another_steps_name_is_refused(three) -> None:
    three.paths()[-1].rename(three.folder / "step-0000000200.checkpoint")
    with pytest.raises(IntegrityError, match="was renamed: it holds step 120"):
        three.load()


def test_a_link_a_pipe_and_a_folder_are_no_checkpoints(three, tmp_path) -> None:
    newest = three.paths()[-1]
    newest.rename(tmp_path / "elsewhere")
    newest.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="it is a link"):
        three.load()
    newest.unlink()
    os.mkfifo(newest)
    with pytest.raises(IntegrityError, match="not a plain file"):
        three.load()
    newest.unlink()
    newest.mkdir()
    with pytest.raises(IntegrityError, match="not a plain file"):
        three.load()


def test_other_files_of_the_folder_are_left_alone(three) -> None:
    for name in ("step-5.checkpoint", "step-0000000500.checkpoint.bak", "notes.txt", "step-00000000500.checkpoint"):
        (three.folder / name).write_text("mine")
    three.save(121, {})
    assert three.load().step == 121
    assert (three.folder / "notes.txt").read_text() == "mine"


HOSTILE = {
    "no JSON": b"{",
    "not UTF-8": b'{"step": "\xff"}',
    "a list": b"[1]",
    "a key twice": b'{"step": 1, "step": 1, "identity": "", "arrays": [], "state": null}',
    "NaN": b'{"step": NaN}',
    "nested too deep for a parser": b"[" * 100_000,
    "a number without end": b"9" * 10_000,
    "no state": {"step": 1},
    "another step's type": head(None, step=True),
    "a state that is no dict": head(["list", 1]),
    "an unknown kind": head(["dict", ["x", ["object", "os.system"]]]),
    "a JSON object as a node": head(["dict", ["x", {"a": 1}]]),
    "a JSON float": head(["dict", ["x", 0.5]]),
    "a kind that is no text": head(["dict", ["x", [["list"], 1]]]),
    "a pair of three": head(["dict", ["x", 1, 2]]),
    "a key twice in a dict": head(["dict", ["x", 1], ["x", 2]]),
    "a key that cannot be hashed": head(["dict", [["list"], 1]]),
    "a float of other length": head(["dict", ["x", ["float", "00"]]]),
    "an integer that is none": head(["dict", ["x", ["int", "__import__('os')"]]]),
    "a place that is not there": head(["dict", ["x", ["array", 5]]]),
    "a negative place": head(["dict", ["x", ["array", -1]]], [["|u1", [0], [0], 0]]),
    "a table that is none": head(["dict"]) | {"arrays": 5},
    "a row of two": head(["dict"], [["<f8", [1]]]),
    "an absurd shape": head(["dict", ["x", ["array", 0]]], [["<f8", [2**60, 2**60], [0, 1], 8]]),
    "a shape whose product is the length after an overflow": head(
        ["dict", ["x", ["array", 0]]], [["<f8", [2**32, 2**32 + 1], [0, 1], 8 * 2**32]]
    ),
    "no bytes in an absurd shape": head(["dict", ["x", ["array", 0]]], [["<f8", [0, 2**62, 2**62], [0, 1, 2], 0]]),
    "too many axes": head(["dict", ["x", ["array", 0]]], [["|u1", [1] * 65, list(range(65)), 0]]),
    "a length beyond the file": head(["dict", ["x", ["array", 0]]], [["|u1", [2**40], [0], 2**40]]),
    "a negative size": head(["dict", ["x", ["array", 0]]], [["|u1", [-1, -1], [0, 1], 0]]),
    "axes twice": head(["dict", ["x", ["array", 0]]], [["|u1", [0, 0], [0, 0], 0]]),
    "an array of objects": head(["dict", ["x", ["array", 0]]], [["|O8", [0], [0], 0]]),
    "a dtype of fields": head(["dict", ["x", ["array", 0]]], [["[('a', 'O')]", [0], [0], 0]]),
    "a dtype of nonsense": head(["dict", ["x", ["array", 0]]], [["<f7", [0], [0], 0]]),
    "torch's own attributes as a dtype": head(["dict", ["x", ["tensor", 0, "cpu"]]], [["torch.load", [0], [0], 0]]),
    "bytes as an array": head(["dict", ["x", ["array", 0]]], [["bytes", [0], [0], 0]]),
    "a device that is no text": head(["dict", ["x", ["tensor", 0, 5]]], [["torch.int8", [0], [0], 0]]),
    "a scalar with axes": head(["dict", ["x", ["scalar", 0]]], [["|u1", [0], [0], 0]]),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_forged_file_with_a_right_digest_is_refused(checkpoints, folder, name: str) -> None:
    forge(folder / "step-0000000001.checkpoint", HOSTILE[name])
    with pytest.raises(IntegrityError, match=r"step-0000000001\.checkpoint is damaged"):
        checkpoints.load()


def test_the_same_frame_around_an_honest_tree_is_read(checkpoints, folder) -> None:
    forge(folder / "step-0000000001.checkpoint", head(["dict", ["x", ["list", 1]]]))
    assert checkpoints.load().state == {"x": [1]}


def test_a_tree_nested_too_deep_is_refused(checkpoints, folder) -> None:
    tree: object = 1
    for _ in range(150):
        tree = ["list", tree]
    forge(folder / "step-0000000001.checkpoint", head(["dict", ["x", tree]]))
    with pytest.raises(IntegrityError, match="nested too deep"):
        checkpoints.load()


def test_a_pickle_is_not_run(checkpoints, folder, tmp_path) -> None:
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    folder.mkdir()
    (folder / "step-0000000001.checkpoint").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(IntegrityError, match="is not a checkpoint"):
        checkpoints.load()
    forge(folder / "step-0000000001.checkpoint", pickle.dumps(Payload()))
    with pytest.raises(IntegrityError):
        checkpoints.load()
    assert not (tmp_path / "owned").exists()


def test_a_later_schema_is_named(checkpoints, folder) -> None:
    path = checkpoints.save(1, {})
    path.write_bytes(path.read_bytes().replace(b"checkpoint/1", b"checkpoint/2", 1))
    with pytest.raises(UsageError, match=r"written as harness\.checkpoint/2"):
        checkpoints.load()


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left(checkpoints, monkeypatch) -> None:
    checkpoints.save(1, {"x": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PrerequisiteError, match="cannot be written: no space left"):
        checkpoints.save(2, {"x": 2})
    monkeypatch.undo()
    assert list(checkpoints.folder.iterdir()) == checkpoints.paths()
    assert checkpoints.load().state == {"x": 1}


def test_a_folder_in_the_place_of_a_file_is_no_place_for_checkpoints(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PrerequisiteError, match="cannot be written"):
        Checkpoints(tmp_path / "file", identity="a").save(1, {})
    with pytest.raises(PrerequisiteError, match="cannot be read"):
        Checkpoints(tmp_path / "file", identity="a").load()


def test_what_a_killed_process_had_begun_to_write_is_removed(checkpoints, folder) -> None:
    folder.mkdir()
    (folder / ".step-half").write_bytes(b"harness.checkpoint/1")
    assert checkpoints.load() is None
    checkpoints.save(1, {})
    assert list(folder.iterdir()) == checkpoints.paths()


def test_two_processes_that_save_at_once_leave_whole_files(checkpoints, folder) -> None:
    program = (
        "import sys; from pathlib import Path; from harness.strict.checkpoints import Checkpoints\n"
        "own = Checkpoints(Path(sys.argv[1]), identity='code: 1\\nseed: 42\\n')\n"
        "for step in range(30):\n"
        "    try: own.save(step, {'data': bytes(100_000), 'step': step})\n"
        "    except Exception as error: assert 'later than' in str(error), error\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", program, folder]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert checkpoints.load().state == {"data": bytes(100_000), "step": 29}
    assert sorted(folder.iterdir()) == checkpoints.paths()
