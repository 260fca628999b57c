from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.runs.project import find_own_root, find_root, require_own_root

ROOT = Path(__file__).parents[2]


def test_a_project_is_found_from_anywhere_in_it(tmp_path: Path) -> None:
    for folder in ("docker", "lockfiles", "source/deep"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "source" / "deep"):
        assert find_root(folder) == find_own_root(folder) == require_own_root(folder, "it") == tmp_path


def test_elsewhere_the_harness_own_checkout_is_read_and_not_written(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    assert find_root(tmp_path) == ROOT
    assert find_own_root(tmp_path) is None
    with pytest.raises(UsageError, match="it needs a project with specs") as caught:
        require_own_root(tmp_path, "it")
    assert "harness init" in str(caught.value.hint)
