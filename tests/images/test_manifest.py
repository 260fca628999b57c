import json

from harness.images.manifest import Documents, make_documents
from harness.locking.imagelock import LayerLock
from harness.record.hashing import digest_of

LAYERS = [LayerLock("one", digest_of(b"one"), 3), LayerLock("two", digest_of(b"two"), 30)]


def documents(variables: dict[str, str], layers: list[LayerLock] = LAYERS) -> Documents:
    return make_documents("tiny", architecture="amd64", variables=variables, layers=layers, builder=1)


def test_manifest_and_config_name_each_other_and_the_layers() -> None:
    made = documents({"TZ": "UTC"})
    manifest, config = json.loads(made.manifest), json.loads(made.config)
    assert manifest["config"]["digest"] == made.config_digest == digest_of(made.config)
    assert manifest["config"]["size"] == len(made.config)
    assert [(layer["digest"], layer["size"]) for layer in manifest["layers"]] == [
        (layer.digest, layer.size) for layer in LAYERS
    ]
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer.digest for layer in LAYERS]}
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    assert config["config"]["Labels"]["harness.image"] == "tiny"


def test_there_is_one_way_to_write_them() -> None:
    made = documents({"TZ": "UTC", "A": "1"})
    assert made == documents({"A": "1", "TZ": "UTC"})
    for data in (made.manifest, made.config):
        assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()


def test_a_time_is_given_and_never_this_one() -> None:
    # An empty one breaks `docker load`; this machine's would make every build another image.
    assert json.loads(documents({}).config)["created"] == "1970-01-01T00:00:00Z"


def test_variables_and_layers_change_the_identity() -> None:
    made = documents({"TZ": "UTC"})
    assert documents({"TZ": "CET"}).manifest_digest != made.manifest_digest
    assert documents({"TZ": "UTC"}, LAYERS[::-1]).manifest_digest != made.manifest_digest


def test_variables_follow_the_path_in_sorted_order() -> None:
    environment = json.loads(documents({"TZ": "UTC", "LANG": "C"}).config)["config"]["Env"]
    assert [line.partition("=")[0] for line in environment] == ["LANG", "PATH", "TZ"]
