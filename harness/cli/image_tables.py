"""Where an image's bytes are, for a person."""

from collections.abc import Iterable, Sequence

from rich.table import Table

from harness.cli.console import stdout
from harness.images.sizes import ImageSizes, Repeated, Same

_PACKAGES, _FILES, _REPEATED, _COPIES = 25, 15, 10, 5


def megabytes(size: int | None) -> str:
    """Bytes as people read them."""
    return "-" if size is None else f"{size / 1e6:.1f} MB"


def image_sizes_report(sizes: ImageSizes) -> None:
    """Print layers, the largest packages and files, and what is there twice; each with its sum."""
    _table(
        f"Layers of {sizes.name}: {megabytes(sizes.size)}",
        ("Layer", "Files", "Size"),
        [(layer.name, str(layer.files), megabytes(layer.size)) for layer in sizes.layers],
    )
    shown, rest = sizes.packages[:_PACKAGES], sizes.packages[_PACKAGES:]
    rows = [
        (package.name, package.version or "-", package.kind.value, str(package.files), megabytes(package.size))
        for package in shown
    ]
    if rest:
        files, size = sum(package.files for package in rest), sum(package.size for package in rest)
        rows.append((f"{len(rest)} smaller ones", "", "", str(files), megabytes(size)))
    rows.append(("what the layers' archives add", "", "", "", megabytes(sizes.overhead)))
    title = f"Packages: {len(sizes.packages)}, in all {megabytes(sizes.size)}"
    _table(title, ("Package", "Version", "Kind", "Files", "Size"), rows)
    largest = sizes.files[:_FILES]
    _table(
        f"Largest files: {megabytes(sum(file.size for file in largest))} of {megabytes(sizes.content)}",
        ("File", "Package", "Size"),
        [(f"/{file.path}", file.package, megabytes(file.size)) for file in largest],
    )
    _repeated("The same content twice", [found for found in sizes.repeated if found.same is Same.CONTENT])
    _repeated(
        "The same library twice, perhaps in other versions",
        [found for found in sizes.repeated if found.same is Same.LIBRARY],
    )


def _repeated(title: str, found: Sequence[Repeated]) -> None:
    rows = []
    for group in found[:_REPEATED]:
        files = [f"/{file.path} ({megabytes(file.size)}, {file.package})" for file in group.files]
        if len(files) > _COPIES:
            files = [*files[:_COPIES], f"and {len(files) - _COPIES} more"]
        name = group.name if group.same is Same.LIBRARY else f"{len(group.files)} files"
        rows.append((name, "\n".join(files), megabytes(group.spare)))
    if rest := found[_REPEATED:]:
        rows.append((f"{len(rest)} smaller ones", "", megabytes(sum(group.spare for group in rest))))
    _table(f"{title}: {megabytes(sum(group.spare for group in found))} to spare", ("What", "Where", "To spare"), rows)


def _table(title: str, columns: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(
            column, justify="right" if column in ("Size", "Files", "To spare") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    stdout.print(table, markup=False)
