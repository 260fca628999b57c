from harness.record.hashing import digest_of
from harness.runs.environment import code_digest
from harness.spec.run import Mount

CODE = Mount(name="code", source="/code", digest=digest_of(b"rooms"))
DATA = Mount(name="data", source="/data", digest=digest_of(b"prices"))


def plugins(content: bytes) -> Mount:
    return Mount(name="plugins", source="/plugins", digest=digest_of(content))


def test_code_is_the_rooms_that_run_inside() -> None:
    assert code_digest([CODE, DATA]) == CODE.digest


def test_another_plugin_is_other_code() -> None:
    assert len({code_digest([CODE]), code_digest([CODE, plugins(b"one")]), code_digest([CODE, plugins(b"two")])}) == 3


def test_data_is_no_code() -> None:
    assert code_digest([CODE, plugins(b"one"), DATA]) == code_digest([CODE, plugins(b"one")])
