"""One tiny experiment in the environments that are really here."""

from typing import Any

import msgspec
import pytest

RIDGE = """
name: ridge
data: {path: panel.csv}
features: [ret_1d, vol_5d]
targets: [fwd_ret_5d]
families: {ridge: {alpha: 1.0}}
folds: {count: 1, min_train: 150}
"""


@pytest.mark.docker
def test_host_and_image_each_repeat_themselves_and_are_incomparable_across(own_shop: Any) -> None:
    (own_shop.folder / "ridge.yaml").write_text(RIDGE)
    environments = ("--environment", "host", "--environment", "cpu")
    page = own_shop.folder / "matrix.md"
    done = own_shop.harness(
        "matrix", "--experiment-config", "ridge.yaml", *environments, "--json", "--markdown", page, timeout=300
    )
    assert done.code == 0, done.stderr
    matrix = msgspec.json.decode(done.stdout)
    assert [(one["name"], one["state"]) for one in matrix["environments"]] == [
        ("host", "identical"),
        ("cpu", "identical"),
    ]
    [pair] = matrix["pairs"]
    assert pair["verdicts"] == {"incomparable": 1}
    assert pair["reasons"][0]["field"] == "environment_signature"
    assert pair["reasons"][0]["changes"][0].startswith("image manifest none → ")
    assert sorted(own_shop.left()) == sorted(name for one in matrix["environments"] for name in one["runs"])
    assert "2 of 2 environments that ran repeat themselves bit for bit." in page.read_text()
