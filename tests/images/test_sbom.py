"""The bill of materials of an image: what stands in it, that it is valid, and that it has the same bytes every time."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from image_packages import Checkout, deb, folder, member, symlink, wheel

import harness
from harness.errors import OutdatedLockError, UsageError
from harness.images.build import build, image_inputs
from harness.images.sbom import _content, image_sbom, make_sbom
from harness.images.tree import File
from harness.record.hashing import digest_of
from harness.spec.digest import hexadecimal

ROOT = Path(harness.__file__).parents[1]

DEP5 = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020 somebody
License: GPL-2+
 Text of it.

Files: doc/*
Copyright: 2020 somebody
License: Expat

Files: odd/*
Copyright: 2020 somebody
License: our-own and Artistic
 As it is.
"""


def control(name: str, *lines: str) -> str:
    text = f"Package: {name}\nVersion: 1.0\nArchitecture: amd64\nDescription: a test\n"
    return text + "".join(f"{line}\n" for line in lines)


def python_package(name: str, *lines: str) -> bytes:
    """A wheel with METADATA of its own."""
    return wheel(name, {f"{name}/__init__.py": b""}, metadata="".join(f"{line}\n" for line in lines))


def sbom(checkout: Checkout) -> bytes:
    checkout.write()
    build("tiny", root=checkout.root, store=checkout.store, update=True)
    return image_sbom("tiny", root=checkout.root, store=checkout.store)


def read(checkout: Checkout) -> dict[str, Any]:
    return json.loads(sbom(checkout))


def components(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in document["components"]}


def licences(component: dict[str, Any]) -> list[str]:
    return [
        each["expression"] if "expression" in each else each["license"].get("id") or each["license"]["name"]
        for each in component["licenses"]
    ]


def problems(data: bytes) -> Any:
    """What CycloneDX's own schema says against a document; nothing where it is valid."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode())


def test_every_package_is_listed_with_its_digest_and_its_address(checkout: Checkout) -> None:
    document = read(checkout)
    found = components(document)
    assert set(found) == {"debian", "base", "python3.11", "small", "large"}
    for name, data in (checkout.debs | checkout.wheels).items():
        assert found[name]["hashes"] == [{"alg": "SHA-256", "content": hexadecimal(digest_of(data))}]
    assert found["base"]["purl"] == "pkg:deb/debian/base@1.0?arch=amd64&distro=bookworm"
    assert found["small"]["purl"] == "pkg:pypi/small@1.0?file_name=small-1.0-py3-none-any.whl"
    assert (found["debian"]["type"], found["debian"]["version"]) == ("operating-system", "bookworm")


def test_the_document_is_of_the_image_by_its_digest(checkout: Checkout) -> None:
    document = read(checkout)
    lock = build("tiny", root=checkout.root, store=checkout.store)
    component = document["metadata"]["component"]
    assert (component["type"], component["name"], component["version"]) == ("container", "tiny", lock.manifest)
    assert component["hashes"] == [{"alg": "SHA-256", "content": hexadecimal(lock.manifest)}]
    assert "timestamp" not in document["metadata"]


def test_the_schema_takes_it_and_refuses_what_is_wrong_with_one_field(checkout: Checkout) -> None:
    data = sbom(checkout)
    assert problems(data) is None
    document = json.loads(data)
    for field, value in (("specVersion", 1.6), ("serialNumber", "none"), ("unknown", 1)):
        assert problems(json.dumps(document | {field: value}).encode()) is not None
    document["components"][0]["hashes"][0]["content"] = "short"
    assert problems(json.dumps(document).encode()) is not None


def test_another_reader_understands_it(checkout: Checkout) -> None:
    """The library reads it back into its own model, and the addresses are what the packageurl library makes of them."""
    from packageurl import PackageURL

    data = sbom(checkout)
    bom: Any = Bom.from_json(json.loads(data))
    assert {component.name for component in bom.components} == {"debian", "base", "python3.11", "small", "large"}
    for component in json.loads(data)["components"]:
        if "purl" in component:
            parsed = PackageURL.from_string(component["purl"])
            assert (parsed.name, parsed.version) == (component["name"], component["version"])


def test_the_same_image_gives_the_same_bytes_whoever_asks(checkout: Checkout, tmp_path: Path) -> None:
    data = sbom(checkout)
    code = (
        "import sys; from pathlib import Path; from harness.images.sbom import image_sbom; "
        "from harness.store.store import Store; "
        "sys.stdout.buffer.write(image_sbom('tiny', root=Path(sys.argv[1]), store=Store(Path(sys.argv[2]))))"
    )
    for seed, zone, language in (("1", "UTC", "C"), ("2", "Asia/Kolkata", "C.UTF-8")):
        environment = {
            "PATH": os.defpath, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": language,
            "HOME": str(tmp_path),
        }  # fmt: skip
        argv = [sys.executable, "-c", code, checkout.root, checkout.store.home]
        assert subprocess.run(argv, env=environment, check=True, capture_output=True).stdout == data


def test_another_wheel_gives_another_document(checkout: Checkout) -> None:
    before = read(checkout)
    checkout.wheels["small"] = wheel("small", {"small/__init__.py": b"changed = True\n"})
    after = read(checkout)
    assert components(before)["small"]["hashes"] != components(after)["small"]["hashes"]
    assert before["serialNumber"] != after["serialNumber"]
    assert before["metadata"]["component"]["hashes"] != after["metadata"]["component"]["hashes"]
    assert components(before)["base"] == components(after)["base"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["License-Expression: MIT"], ["MIT"]),
        (["License-Expression: Apache-2.0 AND MIT", "License: ignored"], ["Apache-2.0 AND MIT"]),
        (["License: bsd-3-clause"], ["BSD-3-Clause"]),
        (["License: BSD", "Classifier: License :: OSI Approved :: BSD License"], ["BSD"]),
        (["License: see below", "Classifier: License :: OSI Approved :: MIT License"], ["MIT"]),
        (["Classifier: License :: OSI Approved :: BSD License"], ["BSD License"]),
        (
            [
                "Classifier: License :: OSI Approved :: MIT License",
                "Classifier: License :: OSI Approved :: BSD License",
            ],
            ["BSD License", "MIT License"],
        ),
        (["License-Expression: LicenseRef-NVIDIA-Proprietary"], ["LicenseRef-NVIDIA-Proprietary"]),
        (["License: NVIDIA Proprietary Software"], ["NVIDIA Proprietary Software"]),
        (["License: Copyright (c) somebody", "        All rights reserved."], ["NOASSERTION"]),
        (["License: UNKNOWN"], ["NOASSERTION"]),
        (["Classifier: Programming Language :: Python"], ["NOASSERTION"]),
        ([], ["NOASSERTION"]),
    ],
)
def test_a_wheels_licence_is_what_it_declares(checkout: Checkout, lines: list[str], expected: list[str]) -> None:
    checkout.wheels["small"] = python_package("small", *lines)
    data = sbom(checkout)
    assert licences(components(json.loads(data))["small"]) == expected
    assert problems(data) is None


def test_a_debian_packages_licences_are_those_of_its_copyright_file(checkout: Checkout) -> None:
    checkout.debs["base"] = deb("base", [member("./usr/share/doc/base/copyright", DEP5.encode())])
    data = sbom(checkout)
    found = components(json.loads(data))
    assert licences(found["base"]) == ["GPL-2.0-or-later", "MIT", "our-own and Artistic"]
    assert licences(found["python3.11"]) == ["NOASSERTION"]  # it has no such file
    assert problems(data) is None


@pytest.mark.parametrize("text", [b"This is free software.", b"", b"\xff\xfe", b"Format: https://other/\n\nFiles: *\n"])
def test_a_copyright_file_in_prose_asserts_nothing(checkout: Checkout, text: bytes) -> None:
    checkout.debs["base"] = deb("base", [member("./usr/share/doc/base/copyright", text)])
    assert licences(components(read(checkout))["base"]) == ["NOASSERTION"]


@pytest.mark.parametrize("target", ["base", "../doc/base", "/usr/share/doc/base"])
def test_a_copyright_file_may_be_another_packages(checkout: Checkout, target: str) -> None:
    checkout.debs["base"] = deb("base", [member("./usr/share/doc/base/copyright", DEP5.encode())])
    checkout.debs["python3.11"] = deb(
        "python3.11", [folder("./usr/share/doc/"), symlink("./usr/share/doc/python3.11", target)]
    )
    assert licences(components(read(checkout))["python3.11"])[0] == "GPL-2.0-or-later"


def test_a_file_larger_than_any_that_is_read_is_never_held_in_memory() -> None:
    class Endless:
        size = 1 << 40

        def chunks(self) -> Any:
            raise AssertionError("it was read")

    class Short(Endless):
        size = 5

        def chunks(self) -> Any:
            yield b"a lic"

    assert _content(File(0o644, Endless())) == b""
    assert _content(File(0o644, Short())) == b"a lic"


def test_links_in_a_circle_end(checkout: Checkout) -> None:
    for one, other in (("base", "python3.11"), ("python3.11", "base")):
        checkout.debs[one] = deb(one, [symlink(f"./usr/share/doc/{one}", other)])
    assert licences(components(read(checkout))["base"]) == ["NOASSERTION"]


def test_dependencies_are_those_that_hold_in_the_image(checkout: Checkout) -> None:
    checkout.debs["base"] = deb("base", [], control=control("base", "Depends: awk, missing | python3.11 (>= 1), base"))
    checkout.debs["python3.11"] = deb("python3.11", [], control=control("python3.11", "Provides: awk"))
    checkout.wheels["small"] = python_package(
        "small", "Requires-Dist: Large>=1", "Requires-Dist: small[more]", "Requires-Dist: absent",
    )  # fmt: skip
    checkout.wheels["large"] = python_package(
        "large", "Requires-Dist: small; sys_platform == 'win32'", "Requires-Dist: small; extra == 'more'",
    )  # fmt: skip
    checkout.spec = checkout.spec.replace("requirements: [small]", "requirements: [small]\n  without: {absent: a test}")
    document = read(checkout)
    reference = {name: each["bom-ref"] for name, each in components(document).items()}
    needs = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    assert needs[reference["base"]] == [reference["python3.11"]]
    assert needs[reference["small"]] == [reference["large"]]
    assert needs[reference["large"]] == []
    image = document["metadata"]["component"]["bom-ref"]
    assert set(needs[image]) == {reference["debian"], reference["base"], reference["small"]}


def test_a_base_is_named_by_its_digest_and_its_content_is_not_listed(checkout: Checkout, tmp_path: Path) -> None:
    sbom(checkout)
    inputs, lock = image_inputs("tiny", checkout.root)
    spec = msgspec.structs.replace(inputs.spec, base=f"oci-layout:bases/debian@sha256:{'1' * 64}")
    based = msgspec.structs.replace(inputs, spec=spec)
    data = make_sbom(lock, based, checkout.store.verified_path, tmp_path)
    base = components(json.loads(data))["bases/debian"]
    assert (base["type"], base["version"]) == ("container", f"sha256:{'1' * 64}")
    assert problems(data) is None


def test_a_lock_that_is_out_of_date_has_no_bill(checkout: Checkout) -> None:
    sbom(checkout)
    checkout.spec = checkout.spec.replace("large_wheel: 2000", "large_wheel: 3000")
    checkout.write()
    with pytest.raises(OutdatedLockError, match="spec changed since"):
        image_sbom("tiny", root=checkout.root, store=checkout.store)
    with pytest.raises(UsageError, match="no image spec"):
        image_sbom("other", root=checkout.root, store=checkout.store)
