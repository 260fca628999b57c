"""Push an image of this checkout to Debian's registry, compressed each way, and pull it into an empty store.

    python -m tests.round_trip cpu

Prints bytes and seconds. Fails unless every layer, the config and the manifest come back as they are committed.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "images"))

from registries import KNOWN, debian_registry, repository

from harness.images.build import open_image
from harness.images.compression import Compression
from harness.images.transport import pull_image, push_image
from harness.store.store import Store

CHECKOUT = Path(__file__).parents[1]


def main(name: str) -> None:
    """Go round once for each compression."""
    with (
        tempfile.TemporaryDirectory(prefix="round-trip-", dir="/var/tmp") as folder,
        open_image(name, root=CHECKOUT, store=Store.default()) as image,
        debian_registry(Path(folder, "registry"), login=True) as registry,
    ):
        known = {"credentials": KNOWN, "stall": 60.0}
        for compression in Compression:
            place = f"{registry.host}/{compression.value}/{name}"
            began = time.monotonic()
            pushed = push_image(
                image, repository(place, push=True, **known), store=Store.default(), compression=compression
            )
            pushing = time.monotonic() - began
            with tempfile.TemporaryDirectory(prefix="store-", dir=folder) as empty:
                began = time.monotonic()
                pulled = pull_image(repository(f"{place}@{pushed.manifest}", **known), store=Store(Path(empty)))
                pulling = time.monotonic() - began
                same = (
                    pulled.manifest_bytes == image.manifest_bytes,
                    pulled.config_bytes == image.config_bytes,
                    pulled.lock.layers == image.lock.layers,
                )
                assert all(same), same
            said = f"{compression.value:5} {pushed.sent / 1e6:7.1f} MB  push {pushing:5.1f} s  pull {pulling:5.1f} s"
            sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
