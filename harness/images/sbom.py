"""The bill of materials of an image, in CycloneDX 1.6: its packages with hashes and licences, and what needs what.

It is a pure function of the image: nothing in it says when, where or by whom it was made.

Format: https://cyclonedx.org/docs/1.6/json/
"""

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import msgspec
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from debian.deb822 import Deb822, PkgRelation
from installer.exceptions import InstallerError
from installer.sources import WheelFile
from packageurl import PackageURL
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from harness.errors import IntegrityError
from harness.images.build import artifact_reader, image_inputs
from harness.images.content import BAD_ZIP
from harness.images.deb import read_deb
from harness.images.dpkg import status_path
from harness.images.inputs import Inputs
from harness.images.licences import debian_licences, wheel_licences
from harness.images.tree import Entry, File, Symlink
from harness.locking.base import parse_base
from harness.locking.debian import DebianPackage
from harness.locking.imagelock import ImageLock
from harness.locking.needs import holds
from harness.locking.python import LockedWheel
from harness.spec.digest import Digest, hexadecimal
from harness.store.progress import SILENT, Progress
from harness.store.store import Store

# The name space of the serial numbers: this project's own, made once.
_SERIAL = UUID("6f1d6a52-4f6b-5c0e-9b1c-0d1f6f8f2f3a")
_TOOL = ToolRepository(components=[Component(name="hermetic-training-harness", type=ComponentType.APPLICATION)])
_MOST_METADATA = 8 << 20
_MOST_TEXT = 32 << 20  # bytes: more than any control file that is taken, or copyright file that is read
_DOCUMENTATION = "usr/share/doc"
_BAD_METADATA: tuple[type[Exception], ...] = (InstallerError, KeyError, AssertionError, UnicodeError, *BAD_ZIP)


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One package: what it says of its licences, and the names (of its own kind) of what it needs."""

    name: str
    licences: tuple[License, ...]
    needs: tuple[str, ...]


def image_sbom(name: str, *, root: Path, store: Store, progress: Progress = SILENT) -> bytes:
    """The document of the image `name` of a checkout; artifacts that the store lacks are fetched.

    Raises:
        HarnessError: as for `build.open_image`, `build.artifact_reader` and `make_sbom`.
    """
    inputs, lock = image_inputs(name, root)
    artifact = artifact_reader(inputs, store, progress)
    with store.temporary_folder() as folder:
        return make_sbom(lock, inputs, artifact, folder, progress=progress)


def make_sbom(
    lock: ImageLock,
    inputs: Inputs,
    artifact: Callable[[Digest], Path],
    temporary: Path,
    *,
    progress: Progress = SILENT,
) -> bytes:
    """The document, as UTF-8 text. `artifact` gives a verified file by digest; `temporary` is for unpacking.

    Raises:
        IntegrityError: an artifact is damaged, or not the package that the lock names.
    """
    total = len(inputs.debian.packages) + len(inputs.python.wheels)
    with progress.task("Reading the packages' licences", total=total) as task:
        debian = read_debian(inputs, artifact, temporary, task.advance)
        python = {}
        for wheel in inputs.python.wheels:
            python[wheel.name] = read_python(wheel, artifact(wheel.digest), inputs)
            task.advance()
    return encode(lock, inputs, debian, python)


def encode(lock: ImageLock, inputs: Inputs, debian: Mapping[str, Package], python: Mapping[str, Package]) -> bytes:
    """The document of an image whose packages were read; a pure function."""
    image = Component(
        name=lock.name,
        type=ComponentType.CONTAINER,
        bom_ref=f"{lock.name}@{lock.manifest}",
        version=lock.manifest,
        hashes=[_hash(lock.manifest)],
        purl=PackageURL("oci", None, lock.name, lock.manifest, {"arch": inputs.spec.debian.architecture}),
    )
    bom = Bom(serial_number=uuid5(_SERIAL, lock.manifest), metadata=BomMetaData(component=image, tools=_TOOL))
    bom.metadata.timestamp = None  # type: ignore[assignment]  # the library's is the time of day; none is needed
    packages = {each.name: _debian_component(each, inputs, debian[each.name]) for each in inputs.debian.packages}
    wheels = {each.name: _python_component(each, python[each.name]) for each in inputs.python.wheels}
    own = [_system(inputs), *_base(inputs)]
    for component in (*own, *packages.values(), *wheels.values()):
        bom.components.add(component)
    asked = [canonicalize_name(Requirement(text).name) for text in inputs.spec.python.requirements]
    chosen = _named(packages, inputs.spec.debian.packages) + _named(wheels, asked)
    bom.register_dependency(image, [*own, *chosen])
    for components, read in ((packages, debian), (wheels, python)):
        for name, component in components.items():
            bom.register_dependency(component, _named(components, read[name].needs))
    return f"{JsonV1Dot6(bom).output_as_string(indent=2)}\n".encode()


def read_debian(
    inputs: Inputs, artifact: Callable[[Digest], Path], temporary: Path, advance: Callable[[], None]
) -> dict[str, Package]:
    """What Debian's packages say of themselves, by name."""
    members: dict[str, dict[str, bytes | Symlink]] = {}
    for package in inputs.debian.packages:
        found = read_deb(package, artifact(package.digest), lambda deb: deb.data(temporary))
        # Read at once, because what is unpacked keeps a file open.
        members[package.name] = {path: _content(entry) for path, entry in found if _is_of_interest(path, package)}
        advance()
    controls = {
        name: Deb822(control) for name, own in members.items() if isinstance(control := own[status_path(name)], bytes)
    }
    providers = _providers(controls)
    return {
        name: Package(
            name=name,
            licences=debian_licences(_copyright(name, members)),
            needs=_debian_needs(control, providers),
        )
        for name, control in controls.items()
    }


def read_python(wheel: LockedWheel, path: Path, inputs: Inputs) -> Package:
    """What a wheel says of itself in its METADATA.

    Raises:
        IntegrityError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            archive.filename = wheel.filename
            source = WheelFile(archive)
            if archive.getinfo(f"{source.dist_info_dir}/METADATA").file_size > _MOST_METADATA:
                raise IntegrityError(f"{wheel.filename} has a METADATA of more than {_MOST_METADATA} bytes")
            metadata = BytesParser().parsebytes(source.read_dist_info("METADATA").encode())
    except _BAD_METADATA as error:
        raise IntegrityError(f"The METADATA of {wheel.filename} cannot be read: {error}") from error
    return Package(name=wheel.name, licences=wheel_licences(metadata), needs=_python_needs(metadata, inputs))


def _is_of_interest(path: str, package: DebianPackage) -> bool:
    own = f"{_DOCUMENTATION}/{package.name}"
    return path in (own, f"{own}/copyright", status_path(package.name))


def _copyright(name: str, members: Mapping[str, Mapping[str, bytes | Symlink]]) -> bytes | None:
    """A package's copyright file; it or its folder may be a link to that of another package (Debian policy, 12.5)."""
    for _ in members:
        folder = f"{_DOCUMENTATION}/{name}"
        found = members.get(name, {}).get(f"{folder}/copyright", members.get(name, {}).get(folder))
        if not isinstance(found, Symlink):
            return found or None
        name = found.target.removesuffix("/copyright").rpartition("/")[2]
    return None


def _content(entry: Entry) -> bytes | Symlink:
    """Nothing for a file that is larger than any that is read here: it is not held in memory."""
    if isinstance(entry, File):
        return b"".join(entry.content.chunks()) if entry.content.size <= _MOST_TEXT else b""
    return entry if isinstance(entry, Symlink) else b""


def _providers(controls: Mapping[str, Deb822]) -> dict[str, list[str]]:
    """The packages behind each name: itself, and what provides it."""
    found: dict[str, list[str]] = {name: [name] for name in controls}
    for name, control in controls.items():
        for provided in _relations(control, "Provides"):
            found.setdefault(provided, []).append(name)
    return found


def _debian_needs(control: Deb822, providers: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """What a package depends on, of what is there: of several alternatives each one that is."""
    asked = [*_relations(control, "Pre-Depends"), *_relations(control, "Depends")]
    needs = {package for name in asked for package in providers.get(name, ())}
    return tuple(sorted(needs - {control["Package"]}))


def _relations(control: Deb822, field: str) -> list[str]:
    """The names in a field of relations, alternatives too."""
    text = control.get(field, "")
    relations: Iterable[Iterable[Any]] = PkgRelation.parse_relations(text) if text.strip() else ()
    return [str(each["name"]) for group in relations for each in group]


def _python_needs(metadata: Message, inputs: Inputs) -> tuple[str, ...]:
    needs = set()
    for text in metadata.get_all("Requires-Dist", []):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:  # of old wheels: pip could not follow it either
            continue
        if holds(requirement.marker, inputs.python):
            needs.add(canonicalize_name(requirement.name))
    return tuple(sorted(needs - {canonicalize_name(str(metadata["Name"]))}))


def _debian_component(package: DebianPackage, inputs: Inputs, read: Package) -> Component:
    purl = PackageURL(
        "deb", "debian", package.name, package.version, {"arch": package.architecture, "distro": inputs.debian.suite}
    )
    return _component(package.name, package.version, purl, package.digest, read)


def _python_component(wheel: LockedWheel, read: Package) -> Component:
    purl = PackageURL("pypi", None, wheel.name, wheel.version, {"file_name": wheel.filename})
    return _component(wheel.name, wheel.version, purl, wheel.digest, read)


def _component(name: str, version: str, purl: PackageURL, digest: Digest, read: Package) -> Component:
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=purl.to_string(),
        purl=purl,
        hashes=[_hash(digest)],
        licenses=read.licences,
    )


def _system(inputs: Inputs) -> Component:
    """What the packages are of, so that scanners know which advisories count."""
    suite = inputs.debian.suite
    return Component(name="debian", version=suite, type=ComponentType.OPERATING_SYSTEM, bom_ref=f"debian@{suite}")


def _base(inputs: Inputs) -> list[Component]:
    """The image under this one, where there is one: what is in it, its own bill says."""
    if inputs.spec.base is None:
        return []
    base = parse_base(inputs.spec.base)
    return [
        Component(
            name=base.place,
            version=base.digest,
            type=ComponentType.CONTAINER,
            bom_ref=f"base@{base.digest}",
            hashes=[_hash(base.digest)],
            properties=[Property(name="harness:content", value="not listed here")],
        )
    ]


def _named(components: Mapping[str, Component], names: Iterable[str]) -> list[Component]:
    return [components[name] for name in names if name in components]


def _hash(digest: Digest) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=hexadecimal(digest))
