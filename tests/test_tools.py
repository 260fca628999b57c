"""What becomes of a test whose program is missing, and that pages and CI name every package."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import tools

CHECKOUT = Path(__file__).parents[1]
TEST = "import pytest\n\n@pytest.mark.needs({program!r})\ndef test_it():\n    pass\n"


@pytest.fixture(autouse=True)
def _not_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tools.REQUIRE, raising=False)


def test_a_program_that_is_there_is_given_by_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "skopeo").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(tools.REQUIRE, "1")
    assert tools.need("skopeo") == f"{tmp_path}/skopeo"


def test_a_test_whose_program_is_missing_is_skipped_and_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(pytest.skip.Exception, match=r"htpasswd is not installed .*apt-get install apache2-utils"):
        tools.need("htpasswd")


@pytest.mark.parametrize(("value", "outcome"), [("1", pytest.fail.Exception), ("0", pytest.skip.Exception)])
def test_it_fails_where_all_are_required(
    value: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv(tools.REQUIRE, value)
    with pytest.raises(outcome, match="skopeo is not installed"):
        tools.need("skopeo")


@pytest.mark.parametrize(
    ("program", "variables", "outcome"),
    [("present", {}, "1 passed"), ("skopeo", {}, "1 skipped"), ("skopeo", {tools.REQUIRE: "1"}, "1 error")],
)
def test_the_mark_asks_before_the_test(program: str, variables: dict[str, str], outcome: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_bytes((CHECKOUT / "tests" / "conftest.py").read_bytes())
    (tmp_path / "test_it.py").write_text(TEST.format(program=program))
    (tmp_path / "present").touch(mode=0o755)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(CHECKOUT), **variables}
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False).stdout
    assert outcome in said


@pytest.mark.parametrize("page", [".ci/run", "docs/architecture.md"])
def test_every_package_is_installed_for_the_suite_and_named_in_the_page(page: str) -> None:
    words = (CHECKOUT / page).read_text().replace("`", " ").split()
    assert [package for package in tools.PACKAGES.values() if package not in words] == []
