"""The bills of materials of the committed images: real metadata, copyright files and licences before the schema."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from harness.images.build import image_inputs
from harness.images.sbom import image_sbom
from harness.store.store import Store

ROOT = Path(__file__).parents[2]
IMAGES = sorted(path.parent.name for path in (ROOT / "lockfiles").glob("*/image.lock"))
CODE = (
    "import sys; from pathlib import Path; from harness.images.sbom import image_sbom; "
    "from harness.store.store import Store; "
    "sys.stdout.buffer.write(image_sbom(sys.argv[1], root=Path(sys.argv[2]), store=Store(Path(sys.argv[3]))))"
)


@pytest.mark.parametrize("image", IMAGES)
def test_the_bill_of_a_committed_image_is_valid_and_repeats(image: str, tmp_path: Path) -> None:
    store = Store.default()
    inputs, _ = image_inputs(image, ROOT)
    if image != "cpu" and not all(store.has(artifact.digest) for artifact in inputs.artifacts()):
        pytest.skip(f"the artifacts of {image} are not in the store: harness build {image} --anew")
    data = image_sbom(image, root=ROOT, store=store)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    environment = {
        "PATH": os.defpath, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path),
        "PYTHONHASHSEED": "7", "TZ": "Asia/Kolkata", "LC_ALL": "C",
    }  # fmt: skip
    argv = [sys.executable, "-c", CODE, image, ROOT, store.home]
    assert subprocess.run(argv, env=environment, check=True, capture_output=True).stdout == data
