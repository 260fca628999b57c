"""`python -m benchmarks.ready`: do what every run does before it starts: make the image, and hand it to the engine."""

import sys
from pathlib import Path

from harness.engines.docker import DockerEngine
from harness.images.build import open_image
from harness.store.store import Store


def main(name: str) -> None:
    """Print the id under which the engine then holds the image."""
    engine = DockerEngine()
    with open_image(name, root=Path(__file__).resolve().parent.parent, store=Store.default()) as image:
        engine.prepare(image)
        print(image.reference.manifest)


if __name__ == "__main__":
    main(sys.argv[1])
