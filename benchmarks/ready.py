"""`python -m benchmarks.ready IMAGE CHECKOUT`: what every run does before it starts: image made, engine has it."""

import sys
from pathlib import Path

from harness.engines.docker import DockerEngine
from harness.images.build import open_image
from harness.store.store import Store


def main(name: str, root: Path) -> None:
    """Print the manifest's digest of the image of the checkout `root`, which the engine then holds."""
    engine = DockerEngine()
    with open_image(name, root=root, store=Store.default()) as image:
        engine.prepare(image)
        print(image.reference.manifest)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
