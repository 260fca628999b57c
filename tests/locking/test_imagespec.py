from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.locking.imagespec import image_names, load_image_spec, python_inputs, spec_digest

ROOT = Path(__file__).parents[2]


def change(root: Path, old: str, new: str) -> None:
    path = root / "docker" / "small.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_committed_specs_are_valid():
    assert "cpu" in image_names(ROOT)
    for name in image_names(ROOT):
        assert load_image_spec(ROOT, name).name == name


def test_a_file_of_another_kind_in_docker_is_no_spec(root):
    folder = root / "docker"
    (folder / "compose.yaml").write_text("services:\n  web: &web {image: demo}\n  two: {<<: *web, tty: !reset null}\n")
    (folder / "empty.yaml").touch()
    assert image_names(root) == ("small",)
    with pytest.raises(UsageError, match=r"compose\.yaml"):
        load_image_spec(root, "compose")


@pytest.mark.parametrize("text", ["debian: {}\n", "name: new\npython: [\n", '{"name": "new"}', "'debian' : 1\n"])
def test_a_spec_with_mistakes_is_one_all_the_same(root, text):
    (root / "docker" / "new.yaml").write_text(text)
    assert image_names(root) == ("new", "small")


def test_whatever_has_locks_is_a_spec(root):
    (root / "docker" / "new.yaml").touch()
    (root / "lockfiles" / "new").mkdir(parents=True)
    assert image_names(root) == ("new", "small")


def test_comments_and_the_order_of_keys_do_not_count_but_content_does(root):
    before = spec_digest(load_image_spec(root, "small"))
    change(root, "name: small\nvariant: cpu\n", "# a comment\nvariant: cpu\nname: small\n")
    assert spec_digest(load_image_spec(root, "small")) == before
    change(root, "does nothing", "does something")
    assert spec_digest(load_image_spec(root, "small")) != before


def test_leaving_nothing_out_is_what_specs_said_before_they_could(root):
    before = spec_digest(load_image_spec(root, "small"))
    change(root, "requirements: [demo]", "requirements: [demo]\n  without: {}")
    assert spec_digest(load_image_spec(root, "small")) == before
    assert "without" not in python_inputs(load_image_spec(root, "small"))
    change(root, "without: {}", "without: {tool: never imported}")
    assert spec_digest(load_image_spec(root, "small")) != before
    assert python_inputs(load_image_spec(root, "small"))["without"] == ["tool"]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("name: small", "name: other", "name"),
        ("name: small\n", "", "name"),
        ("variant: cpu", "variant: tpu", "variant"),
        ("variant: cpu", "variant: cpu\nvariant: cpu", "variant"),
        ("variant: cpu", "variant: cpu\nvarient: cpu", "varient"),
        ("  suite: testing\n", "", "debian"),
        ("suite: testing", "suite: ../testing", "suite"),
        ("packages: [app]", "packages: []", "packages"),
        ("packages: [app]", "packages: [app, app]", "packages"),
        ("packages: [app]", "packages: app", "packages"),
        ("packages: [app]", "packages: ['../app']", "packages"),
        ("packages: [app]", "packages: [app]\n  exclude: ['*.a', '*.a']", "exclude"),
        ('version: "3.11"', "version: 3.11", "version"),
        ("x86_64-manylinux_2_36", "windows", "platform"),
        ("x86_64-manylinux_2_36", "aarch64-manylinux_2_36", "python.platform"),
        ("architecture: amd64", "architecture: arm64", "python.platform"),
        ("architecture: amd64", "architecture: riscv64", "debian.architecture"),
        ("requirements: [demo]", "requirements: []", "requirements"),
        ("requirements: [demo]", "requirements: [demo, demo]", "requirements"),
        ("requirements: [demo]", "requirements: ['num py']", "is not a requirement"),
        (
            "requirements: [demo]",
            "requirements: ['x @ https://tok:secret@h.test/x']",
            "x is to come from https://h.test/x",
        ),
        ("uid: 0", "uid: -1", "uid"),
        ("uid: 0", "uid: zero", "uid"),
        ("name: root, uid", "name: 'root:x', uid", "name"),
        ("home: /root}", "home: /root}\n  - {name: root, uid: 1, home: /r}", "users"),
        ("home: /root}", "home: /root}\n  - {name: r, uid: 0, home: /r}", "users"),
        ("home: /root}", "home: root}", "users"),
        ("home: /root}", "home: '/ro\\not/..'}", "users"),
        ("links: {/usr/bin/sh: bash}", "links: {usr/bin/sh: bash}", "links"),
        ("links: {/usr/bin/sh: bash}", "links: {/usr/../sh: bash}", "links"),
        ("links: {/usr/bin/sh: bash}", "links: {/usr/bin/sh: ../../../etc}", "links"),
        ("links: {/usr/bin/sh: bash}", "links: {/usr/bin/sh: ''}", "links"),
        ("links: {/usr/bin/sh: bash}", "links: {/etc/nsswitch.conf: bash}", "files"),
        ("files: {/etc/", "files: {/etc//", "files"),
        ("postinst: {app: does nothing}", "postinst: {app: ' '}", "postinst"),
        ("postinst: {app: does nothing}", "postinst: {app: 1}", "postinst"),
        (
            "requirements: [demo]",
            "requirements: [demo]\n  without: {tool: ''}",
            r"python\.without\.tool gives no reason",
        ),
        ("requirements: [demo]", "requirements: [demo]\n  without: {My_Tool: unused}", "write my-tool"),
        ("requirements: [demo]", "requirements: [demo]\n  without: {demo: unused}", r"without\.demo .* asked for"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused_by_file_and_key(root, old, new, key):
    load_image_spec(root, "small")
    change(root, old, new)
    with pytest.raises(UsageError, match=rf"small\.yaml.*{key}"):
        load_image_spec(root, "small")


def test_an_unknown_image_is_named_with_those_there_are(root):
    with pytest.raises(UsageError, match="no image spec") as caught:
        load_image_spec(root, "missing")
    assert "small" in str(caught.value)


@pytest.mark.parametrize("name", ["../small", "a/b", "", "Small", "-x", "a\n", "x" * 50])
def test_a_name_is_a_plain_word(root, name):
    with pytest.raises(UsageError, match="not the name of an image"):
        load_image_spec(root, name)
