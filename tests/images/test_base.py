"""A base under our layers: from a layout or an archive, by digest alone."""

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from image_packages import Checkout, deb, folder, hardlink, member, symlink, tar
from registries import debian_registry

from harness.errors import IntegrityError, OutdatedLockError, PrerequisiteError, UsageError
from harness.images.base import load_base
from harness.images.basefiles import BaseFiles
from harness.images.build import build, open_image
from harness.images.bundle import object_path, vendor
from harness.images.export import export_layout
from harness.images.unbundle import build_from
from harness.locking.base import BaseImage, Transport, parse_base
from harness.locking.imagelock import SCHEMA, ImageLock
from harness.locking.imagespec import load_image_spec, spec_digest
from harness.locking.lockfile import read_lock, write_lock
from harness.record.hashing import digest_of
from harness.spec.digest import Digest, hexadecimal
from harness.store.progress import SILENT
from harness.store.store import Store
from tests.tools import need

DIGEST = "sha256:" + "a" * 64
ROOT = [
    folder("usr/"), folder("usr/bin/"), symlink("bin", "usr/bin"), folder("srv/", 0o750),
    member("etc/passwd", b"root:x:0:0:base:/root:/bin/sh\nnonroot:x:65532:65532::/:/bin/sh\n"),
    member("srv/model.txt", b"weights"), member("opt/old/a", b"a"), member("opt/old/b", b"b"),
]  # fmt: skip
Members = Iterable[tuple[tarfile.TarInfo, bytes]]


def plain(data: bytes) -> bytes:
    return data


def in_two_members(data: bytes) -> bytes:
    """Gzip as some builders write it: several streams, one after the other."""
    return gzip.compress(data[:700]) + gzip.compress(data[700:])


class Layout:
    """An OCI layout in the project, made layer by layer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def put(self, data: bytes | dict[str, Any]) -> dict[str, Any]:
        content = data if isinstance(data, bytes) else json.dumps(data).encode()
        digest = digest_of(content)
        (self.path / "blobs" / "sha256" / hexadecimal(digest)).write_bytes(content)
        return {"digest": digest, "size": len(content), "mediaType": "application/vnd.oci.image.layer.v1.tar"}

    def blob(self, digest: str) -> Path:
        return self.path / "blobs" / "sha256" / hexadecimal(Digest(digest))

    def image(
        self,
        *layers: Members,
        pack: Callable[[bytes], bytes] = gzip.compress,
        variables: Iterable[str] = ("PATH=/usr/bin:/opt/bin", "GREETING=hello", "PYTHONPATH=/evil", "LD_PRELOAD=x.so"),
        architecture: str = "amd64",
        diffs: list[str] | None = None,
    ) -> Digest:
        tars = [tar(one) for one in layers]
        config = self.put(
            {
                "architecture": architecture,
                "os": "linux",
                "config": {"Env": list(variables), "Entrypoint": ["/bin/evil"], "Volumes": {"/data": {}}},
                "rootfs": {"type": "layers", "diff_ids": diffs or [digest_of(data) for data in tars]},
            }
        )
        manifest = {"schemaVersion": 2, "config": config, "layers": [self.put(pack(data)) for data in tars]}
        return Digest(self.put(manifest)["digest"])


@pytest.fixture
def layout(checkout: Checkout) -> Layout:
    return Layout(checkout.root / "base")


def use(checkout: Checkout, base: str) -> Checkout:
    checkout.spec = checkout.spec.partition("base: ")[0] + f"base: {base}\n"
    return checkout.write()


def make(checkout: Checkout, base: str) -> ImageLock:
    return build("tiny", root=use(checkout, base).root, store=checkout.store, update=True)


def files_of(checkout: Checkout, lock: ImageLock) -> BaseFiles:
    """What a container would see: all layers on each other."""
    return BaseFiles([checkout.store.verified_path(layer.digest) for layer in lock.layers])


def test_the_layers_of_a_base_go_under_ours_unpacked(checkout: Checkout, layout: Layout) -> None:
    digest = layout.image(ROOT, [member("srv/more.txt", b"more")])
    lock = make(checkout, f"oci-layout:base@{digest}")
    assert [layer.name for layer in lock.layers] == [
        "base-1", "base-2", "debian", "wheel:large", "wheels", "configuration"
    ]  # fmt: skip
    assert lock.layers[0].digest == digest_of(tar(ROOT))
    assert isinstance(lock.base, BaseImage)
    assert lock.base.manifest == digest
    assert read_lock(checkout.folder / "image.lock", ImageLock, schema=SCHEMA) == lock
    seen = files_of(checkout, lock)
    assert seen.text("srv/model.txt") == "weights"
    assert seen.text("srv/more.txt") == "more"
    assert seen.text("usr/bin/python3.11") == "python"
    assert build("tiny", root=checkout.root, store=checkout.store) == lock
    assert build("tiny", root=checkout.root, store=checkout.store, anew=True) == lock


def test_without_a_base_nothing_of_one_is_in_lock_or_digest(checkout: Checkout) -> None:
    without = build("tiny", root=checkout.root, store=checkout.store, update=True)
    assert b"base" not in (checkout.folder / "image.lock").read_bytes().replace(b"base-files", b"")
    first = spec_digest(load_image_spec(checkout.root, "tiny"))
    use(checkout, f"oci-layout:base@{DIGEST}")
    assert spec_digest(load_image_spec(checkout.root, "tiny")) != first
    with (
        pytest.raises(OutdatedLockError, match="spec changed"),
        open_image("tiny", root=checkout.root, store=checkout.store),
    ):
        pass
    assert without.inputs["spec"] == first


def test_variables_of_the_base_are_kept_but_for_ours_and_for_those_that_reach_into_programs(
    checkout: Checkout, layout: Layout
) -> None:
    make(checkout, f"oci-layout:base@{layout.image(ROOT)}")
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        config = json.loads(image.config_bytes)
    found = dict(line.split("=", 1) for line in config["config"]["Env"])
    assert found["GREETING"] == "hello"
    assert found["PATH"].startswith("/usr/local/sbin:")
    assert found["PATH"].endswith("/bin:/opt/bin")
    assert not {"PYTHONPATH", "LD_PRELOAD"} & set(found)
    assert not {"Entrypoint", "Volumes"} & set(config["config"])
    assert len(config["history"]) == len(config["rootfs"]["diff_ids"]) == 5


def test_accounts_of_the_base_come_after_ours(checkout: Checkout, layout: Layout) -> None:
    lock = make(checkout, f"oci-layout:base@{layout.image(ROOT)}")
    names = [line.partition(":")[0] for line in files_of(checkout, lock).text("etc/passwd").splitlines()]
    assert names == ["root", "harness", "nonroot"]


def test_a_folder_that_no_package_ships_keeps_the_mode_of_the_base(checkout: Checkout, layout: Layout) -> None:
    checkout.debs["base"] = deb("base", [member("./srv/ours", b"1")])
    lock = make(checkout, f"oci-layout:base@{layout.image(ROOT)}")
    assert files_of(checkout, lock).modes()["srv"] == 0o750


@pytest.mark.parametrize("pack", [plain, gzip.compress, zstd.compress, in_two_members])
def test_a_layer_may_be_packed_in_any_way_and_is_the_same_layer(
    pack: Callable[[bytes], bytes], checkout: Checkout, layout: Layout
) -> None:
    lock = make(checkout, f"oci-layout:base@{layout.image(ROOT, pack=pack)}")
    assert lock.layers[0].digest == digest_of(tar(ROOT))


def test_whiteouts_delete_what_is_below_and_nothing_else(checkout: Checkout, layout: Layout) -> None:
    above = [member("opt/old/.wh.a"), member("opt/old/c", b"c"), member("srv/.wh..wh..opq"), member("srv/new", b"n")]
    lock = make(checkout, f"oci-layout:base@{layout.image(ROOT, above)}")
    seen = files_of(checkout, lock)
    kept = {path for path in seen.entries if path.startswith(("opt/", "srv"))}
    assert kept == {"opt/old/b", "srv", "opt/old/c", "srv/new"}


def test_what_a_whiteout_deleted_is_in_nobodys_way(checkout: Checkout, layout: Layout) -> None:
    hiding = [folder("usr/share/naïve/"), member("usr/local/bin/python3", b"other", mode=0o755)]
    with pytest.raises(UsageError, match="/usr/share/naïve as a folder, and base has a file there"):
        make(checkout, f"oci-layout:base@{layout.image(hiding)}")
    gone = [member("usr/share/.wh.naïve"), member("usr/local/bin/.wh.python3")]
    assert make(checkout, f"oci-layout:base@{layout.image(hiding, gone)}")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([folder("bin/"), member("bin/sh", b"busybox")], "has /bin as a folder of its own"),
        ([symlink("usr/share", "../opt")], "has /usr/share as a link to ../opt, and base has a folder there"),
        ([member("var", b"")], "has /var as a file, and docker/tiny.yaml has a folder there"),
        ([member("usr/local/bin/python3", b"")], "has a Python of its own: /usr/local/bin/python3"),
        ([member("etc/os-release", b"ID=debian\nVERSION_CODENAME=trixie\n")], "packages of Debian bookworm would go"),
        ([member("usr/lib/os-release", b'ID="ubuntu"\nPRETTY_NAME="Ubuntu 22.04"\n')], "is Ubuntu 22.04, and"),
        ([member("../../evil", b"")], "leads out of the image"),
    ],
)  # fmt: skip
def test_a_base_over_which_ours_cannot_lie_is_refused(
    members: Members, said: str, checkout: Checkout, layout: Layout
) -> None:
    with pytest.raises((UsageError, IntegrityError), match=said):
        make(checkout, f"oci-layout:base@{layout.image(members)}")
    assert not (checkout.folder / "image.lock").exists()


def test_a_link_of_the_spec_may_cover_the_python_of_the_base(checkout: Checkout, layout: Layout) -> None:
    digest = layout.image([member("usr/local/bin/python3", b"")])
    checkout.spec = checkout.spec.replace("links:\n", "links:\n  /usr/local/bin/python3: /usr/bin/python3\n")
    assert files_of(checkout, make(checkout, f"oci-layout:base@{digest}")).entries["usr/local/bin/python3"].is_link


def test_a_base_of_the_same_release_is_taken(checkout: Checkout, layout: Layout) -> None:
    digest = layout.image([member("usr/lib/os-release", b"ID=debian\nVERSION_CODENAME=bookworm\n")])
    assert make(checkout, f"oci-layout:base@{digest}")


def test_of_an_index_the_image_for_this_architecture_is_taken(checkout: Checkout, layout: Layout) -> None:
    ours, other = layout.image(ROOT), layout.image(ROOT, architecture="arm64")

    def index(*platforms: tuple[Digest, str, str]) -> str:
        entries = [
            {"digest": digest, "size": 1, "platform": {"os": system, "architecture": machine}}
            for digest, system, machine in platforms
        ]
        return f"oci-layout:base@{layout.put({'schemaVersion': 2, 'manifests': entries})['digest']}"

    lock = make(checkout, index((other, "linux", "arm64"), (ours, "linux", "amd64"), (other, "unknown", "unknown")))
    assert isinstance(lock.base, BaseImage)
    assert lock.base.manifest == ours
    with pytest.raises(UsageError, match=r"no image for linux/amd64 \(it has linux/arm64\)"):
        make(checkout, index((other, "linux", "arm64")))
    with pytest.raises(UsageError, match="2 images for linux/amd64"):
        make(checkout, index((ours, "linux", "amd64"), (other, "linux", "amd64")))


def test_a_base_for_another_architecture_is_refused(checkout: Checkout, layout: Layout) -> None:
    with pytest.raises(UsageError, match="is for linux/arm64, and tiny for linux/amd64"):
        make(checkout, f"oci-layout:base@{layout.image(ROOT, architecture='arm64')}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("registry.example.com/debian:bookworm", "names no digest: a tag"),
        ("debian", "names no digest"),
        ("oci-layout:base", "names no digest"),
        ("oci-layout:base@sha256:abc", "is not a digest"),
        (f"oci-layout:@{DIGEST}", "is not a plain path"),
        (f"oci-layout:a//b@{DIGEST}", "is not a plain path"),
        (f"debian@{DIGEST}", "names no registry, folder or archive"),
        (f"library/debian@{DIGEST}", "names no registry, folder or archive"),
    ],
)
def test_a_base_without_digest_or_place_is_refused(text: str, said: str, checkout: Checkout) -> None:
    use(checkout, text)
    with pytest.raises(UsageError, match=said) as raised:
        load_image_spec(checkout.root, "tiny")
    assert "tiny.yaml: base is" in raised.value.message


def test_a_reference_says_where_the_base_is() -> None:
    for text, transport, place in (
        ("oci-layout:some/folder", Transport.LAYOUT, "some/folder"),
        ("archive:base.tar", Transport.ARCHIVE, "base.tar"),
        ("registry.example.com:5000/team/base", Transport.REGISTRY, "registry.example.com:5000/team/base"),
    ):
        found = parse_base(f"{text}@{DIGEST}")
        assert (found.transport, found.place, found.digest) == (transport, place, DIGEST)


def test_a_base_that_is_not_there_is_a_plain_error(checkout: Checkout, layout: Layout) -> None:
    with pytest.raises(UsageError, match="is no OCI layout"):
        make(checkout, f"oci-layout:elsewhere@{DIGEST}")
    with pytest.raises(UsageError, match="holds no image"):
        make(checkout, f"oci-layout:base@{DIGEST}")
    with pytest.raises(UsageError, match="No such file"):
        make(checkout, f"archive:base.tar@{DIGEST}")
    (checkout.root / "base.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(UsageError, match="cannot be read as a tar archive"):
        make(checkout, f"archive:base.tar@{DIGEST}")


def test_every_blob_is_held_against_its_digest(checkout: Checkout, layout: Layout) -> None:
    digest = layout.image(ROOT)
    manifest = json.loads(layout.blob(digest).read_bytes())
    for blob in (digest, manifest["config"]["digest"], manifest["layers"][0]["digest"]):
        path = layout.blob(blob)
        right = path.read_bytes()
        for wrong in (right[:-1] + bytes([right[-1] ^ 1]), right[:-9], right + b"\0"):
            path.write_bytes(wrong)
            with pytest.raises(IntegrityError):
                make(checkout, f"oci-layout:base@{digest}")
        path.unlink()
        with pytest.raises(UsageError, match=r"does not hold|holds no"):
            make(checkout, f"oci-layout:base@{digest}")
        path.write_bytes(right)
    assert not checkout.store.has(digest_of(tar(ROOT)))
    assert make(checkout, f"oci-layout:base@{digest}")


def test_a_config_that_lies_about_its_layers_is_refused(checkout: Checkout, layout: Layout) -> None:
    with pytest.raises(IntegrityError, match="unpacks to sha256:"):
        make(checkout, f"oci-layout:base@{layout.image(ROOT, diffs=[DIGEST])}")
    with pytest.raises(IntegrityError, match="names other layers than its manifest"):
        make(checkout, f"oci-layout:base@{layout.image(ROOT, diffs=[DIGEST, DIGEST])}")


def test_a_layer_that_unpacks_to_far_more_than_it_is_is_stopped(checkout: Checkout, layout: Layout) -> None:
    bomb = [member("zeros", bytes(96 << 20))]
    with pytest.raises(IntegrityError, match="looks like a bomb"):
        make(checkout, f"oci-layout:base@{layout.image(bomb)}")
    assert not checkout.store.has(digest_of(tar(bomb)))


def test_a_layer_of_the_base_that_is_lost_or_damaged_is_read_again(
    checkout: Checkout, layout: Layout, alter: Callable[[Store, Digest], None]
) -> None:
    lock = make(checkout, f"oci-layout:base@{layout.image(ROOT)}")
    bottom = lock.layers[0].digest
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        checkout.store.path(bottom).unlink()
        image.fetch()
        assert digest_of(image.blob(bottom).read_bytes()) == bottom
        alter(checkout.store, bottom)
        assert digest_of(image.blob(bottom).read_bytes()) == bottom
    checkout.store.path(bottom).unlink()
    shutil.rmtree(layout.path)
    with pytest.raises(UsageError, match="is no OCI layout"):
        build("tiny", root=checkout.root, store=checkout.store)


def test_a_bundle_holds_the_base_unpacked_and_needs_its_source_no_more(
    checkout: Checkout, layout: Layout, tmp_path: Path
) -> None:
    lock = make(checkout, f"oci-layout:base@{layout.image(ROOT, [member('srv/more.txt', b'more')])}")
    bundle = tmp_path / "tiny.bundle"
    told = vendor("tiny", bundle, root=checkout.root, store=checkout.store, progress=SILENT)
    shutil.rmtree(layout.path)
    with tarfile.open(bundle, "r:") as archive:
        held = {member.name for member in archive}
    assert {object_path(layer.digest) for layer in lock.layers[:2]} <= held
    assert told.artifacts == 6
    fresh = Store(tmp_path / "fresh")
    (tmp_path / "nothing").mkdir()
    built = build_from(bundle, name=None, root=tmp_path / "nothing", store=fresh, progress=SILENT)
    assert built.lock == lock
    for layer in lock.layers:
        fresh.verified_path(layer.digest)


def test_a_lock_whose_first_layers_are_not_its_bases_is_refused(checkout: Checkout, layout: Layout) -> None:
    lock = make(checkout, f"oci-layout:base@{layout.image(ROOT)}")
    first, *rest = lock.layers
    swapped = ImageLock(
        name=lock.name, builder=lock.builder, inputs=lock.inputs, manifest=lock.manifest, config=lock.config,
        layers=(rest[0], first, *rest[1:]), base=lock.base,
    )  # fmt: skip
    write_lock(checkout.folder / "image.lock", swapped)
    with pytest.raises(IntegrityError, match="its first layers are not those of its base"):
        build("tiny", root=checkout.root, store=checkout.store)


def run(*command: str, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def umoci_layout(tmp_path: Path) -> tuple[Path, Digest]:
    """An OCI layout that umoci made, of two layers: one with files, one that deletes some of them."""
    for tool in ("umoci", "skopeo"):
        need(tool)
    work = tmp_path / "work"
    work.mkdir()
    rootless = [] if os.getuid() == 0 else ["--rootless"]
    run("umoci", "init", "--layout", "made", cwd=work)
    run("umoci", "new", "--image", "made:v", cwd=work)
    run("umoci", "unpack", *rootless, "--image", "made:v", "bundle", cwd=work)
    (work / "bundle/rootfs/srv").mkdir()
    (work / "bundle/rootfs/srv/kept").write_text("kept")
    (work / "bundle/rootfs/srv/deleted").write_text("deleted")
    run("umoci", "repack", "--image", "made:v", "bundle", cwd=work)
    shutil.rmtree(work / "bundle")
    run("umoci", "unpack", *rootless, "--image", "made:v", "bundle", cwd=work)
    (work / "bundle/rootfs/srv/deleted").unlink()
    run("umoci", "repack", "--image", "made:v", "bundle", cwd=work)
    run("umoci", "config", "--image", "made:v", "--config.env", "GREETING=hello", cwd=work)
    return work / "made", Digest(run("skopeo", "inspect", "--format", "{{.Digest}}", "oci:made:v", cwd=work).strip())


def test_what_umoci_and_skopeo_make_is_read_in_each_form(checkout: Checkout, umoci_layout: tuple[Path, Digest]) -> None:
    made, digest = umoci_layout
    shutil.copytree(made, checkout.root / "made")
    lock = make(checkout, f"oci-layout:made@{digest}")
    seen = files_of(checkout, lock)
    assert seen.text("srv/kept") == "kept"
    assert "srv/deleted" not in seen.entries
    run("skopeo", "copy", f"oci:{made}:v", "oci-archive:oci.tar", cwd=checkout.root)
    again = make(checkout, f"archive:oci.tar@{digest}")
    run("skopeo", "copy", f"oci:{made}:v", "docker-archive:saved.tar:some/name:v", cwd=checkout.root)
    assert isinstance(lock.base, BaseImage)
    saved = make(checkout, f"archive:saved.tar@{lock.base.config}")
    assert lock.layers == again.layers == saved.layers
    assert lock.config == again.config == saved.config
    with pytest.raises(UsageError, match="holds no image"):
        make(checkout, f"archive:saved.tar@{DIGEST}")


def test_an_image_of_ours_can_be_a_base_as_it_was_exported(checkout: Checkout) -> None:
    bare = build("tiny", root=checkout.root, store=checkout.store, update=True)
    with open_image("tiny", root=checkout.root, store=checkout.store) as image:
        export_layout(image, checkout.root / "exported")
    lock = make(checkout, f"oci-layout:exported@{bare.manifest}")
    assert [layer.digest for layer in lock.layers[:4]] == [layer.digest for layer in bare.layers]


def test_loading_reads_nothing_where_no_base_is_named(checkout: Checkout) -> None:
    assert load_base(load_image_spec(checkout.root, "tiny"), checkout.root, checkout.store, SILENT) is None


def test_members_are_read_from_the_start_of_an_archive(checkout: Checkout, layout: Layout) -> None:
    """`./` before names is what `tar -c .` writes."""
    digest = layout.image(ROOT)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.add(layout.path, ".")
    (checkout.root / "dotted.tar").write_bytes(target.getvalue())
    assert make(checkout, f"archive:dotted.tar@{digest}")


def saved(checkout: Checkout, *members: tuple[tarfile.TarInfo, bytes]) -> str:
    """The `base` of an archive as `docker save` wrote them long: a folder a layer, and another image in `one`."""
    layer = tar(ROOT)
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [digest_of(layer)]}}).encode()
    document = [{"Config": "config.json", "Layers": ["two/layer.tar"]}]
    data = tar(
        [member("one/layer.tar", layer), *members, member("config.json", config),
         member("manifest.json", json.dumps(document).encode())]
    )  # fmt: skip
    (checkout.root / "saved.tar").write_bytes(data)
    return f"archive:saved.tar@{digest_of(config)}"


@pytest.mark.parametrize(
    "link", [symlink("two/layer.tar", "../one/layer.tar"), hardlink("two/layer.tar", "one/layer.tar")]
)
def test_a_layer_that_docker_saved_as_a_link_to_an_equal_one_is_read(
    link: tuple[tarfile.TarInfo, bytes], checkout: Checkout
) -> None:
    lock = make(checkout, saved(checkout, link))
    assert lock.layers[0].digest == digest_of(tar(ROOT))


@pytest.mark.parametrize(
    "links",
    [
        [],
        [symlink("two/layer.tar", "layer.tar")],
        [symlink("two/layer.tar", "../three"), symlink("three", "two/layer.tar")],
        [symlink("two/layer.tar", "../three"), symlink("three", "one/layer.tar")],
        [hardlink("two/layer.tar", "two/layer.tar")],
        [symlink("two/layer.tar", "/etc/passwd")],
        [symlink("two/layer.tar", "../../one/layer.tar")],
        [folder("two/layer.tar/")],
    ],
)
def test_links_in_an_archive_are_followed_to_a_file_of_it_and_no_further(
    links: list[tuple[tarfile.TarInfo, bytes]], checkout: Checkout
) -> None:
    with pytest.raises(UsageError, match=r"does not hold two/layer\.tar"):
        make(checkout, saved(checkout, *links))


def header(kind: bytes, size: int) -> bytes:
    """A header that says of a member how long it is, as no writer would."""
    info = tarfile.TarInfo("x")
    info.type = kind
    data = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    data[124:136] = (0xFF if size < 0 else 0x80).to_bytes(1, "big") + (size % (1 << 88)).to_bytes(11, "big")
    data[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(data))[0]
    return bytes(data)


LYING = {
    "a long name": header(tarfile.GNUTYPE_LONGNAME, 3 << 20) + bytes(3 << 20),
    "extended headers": header(tarfile.XHDTYPE, 3 << 20) + bytes(3 << 20),
    "headers of headers": header(tarfile.XHDTYPE, 0) * 3000,
    "a negative size": header(tarfile.REGTYPE, -512),
    "a size that no file has": header(tarfile.REGTYPE, 1 << 80),
    "a file that ends too early": header(tarfile.REGTYPE, 1 << 20) + bytes(512),
    "a damaged header": b"x" * 1000,
}


@pytest.mark.parametrize("lie", LYING)
def test_no_header_of_a_base_is_believed(lie: str, checkout: Checkout, layout: Layout) -> None:
    (checkout.root / "lying.tar").write_bytes(tar([member("first", b"1")])[:1024] + LYING[lie])
    with pytest.raises(IntegrityError, match="damaged") as refused:
        make(checkout, f"archive:lying.tar@{DIGEST}")
    assert "base" in (refused.value.hint or "")
    with pytest.raises(IntegrityError, match="damaged"):
        BaseFiles([checkout.root / "lying.tar"])


def test_headers_take_only_so_much_in_all(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    many = tar([member(f"{number}", b"") for number in range(1000)])
    (checkout.root / "many.tar").write_bytes(many)
    assert len(BaseFiles([checkout.root / "many.tar"]).entries) == 1000
    monkeypatch.setattr("harness.images.members.MAX_HEADERS", 400_000)
    with pytest.raises(IntegrityError, match="headers take more than"):
        BaseFiles([checkout.root / "many.tar"])


def test_a_path_that_no_system_takes_is_refused(checkout: Checkout) -> None:
    (checkout.root / "long.tar").write_bytes(tar([member("a/" * 3000, b"")]))
    with pytest.raises(IntegrityError, match="a member whose path has 6000 characters"):
        BaseFiles([checkout.root / "long.tar"])


@pytest.mark.needs("skopeo")
def test_a_base_is_pulled_from_a_registry(checkout: Checkout, layout: Layout, tmp_path: Path) -> None:
    digest = layout.image(ROOT, [member("srv/.wh.model.txt")])
    index = {"schemaVersion": 2, "manifests": [{"digest": digest, "size": layout.blob(digest).stat().st_size}]}
    (layout.path / "index.json").write_text(json.dumps(index))
    with debian_registry(tmp_path / "registry") as registry:
        run(
            "skopeo", "copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout.path}",
            f"docker://{registry.host}/team/base:v", cwd=tmp_path,
        )  # fmt: skip
        lock = make(checkout, f"{registry.host}/team/base@{digest}")
        with pytest.raises(PrerequisiteError, match="holds no image"):
            make(checkout, f"{registry.host}/team/base@{DIGEST}")
    assert "srv/model.txt" not in files_of(checkout, lock).entries
    assert lock.layers == make(checkout, f"oci-layout:base@{digest}").layers
