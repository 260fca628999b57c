import os

import pytest
from uv import find_uv_bin

from harness.errors import ToolError
from harness.store.process import run


def test_a_failing_program_s_last_words_are_quoted_without_passwords() -> None:
    script = "echo first >&2; echo 'no https://user:hush/secret@h.test/x?token=secret, sorry' >&2; exit 3"
    with pytest.raises(ToolError, match=r"sh failed with exit code 3: first\nno https://h\.test/x sorry$"):
        run(["sh", "-c", script])


def test_a_password_is_not_quoted_where_only_the_end_of_it_is_left() -> None:
    script = "printf 'https://user:hush%s@h.test' $(seq -s s 1000) >&2; exit 3"
    with pytest.raises(ToolError, match=r"exit code 3: https://h\.test$"):
        run(["sh", "-c", script])


@pytest.mark.parametrize("password", ["hush/secret", "hush#secret", "hush?secret"])
def test_uv_s_word_on_an_address_that_it_cannot_read_does_not_show_the_password(password: str) -> None:
    variables = {**os.environ, "UV_DEFAULT_INDEX": f"http://user:{password}@127.0.0.1:9/simple"}
    with pytest.raises(ToolError, match="invalid port number") as failed:
        run([find_uv_bin(), "pip", "compile", "-"], environment=variables)
    assert not [word for word in ("hush", "secret") if word in failed.value.message]
