"""Baselines in files: what is read back is what was written, and everything else is refused."""

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import ExitCode, HarnessError, IncomparableError, IntegrityError, UsageError
from harness.record.hashing import signature
from harness.record.jsonfile import pretty_json
from harness.release import baseline as module
from harness.release.baseline import (
    Baseline,
    baseline_names,
    check_applies,
    find_baseline,
    read_baseline,
    write_baseline,
)
from harness.release.site import Site
from harness.spec.digest import Digest

NOTHING = Digest(f"sha256:{'0' * 64}")


@pytest.fixture
def path(baseline: Callable[..., Baseline], site: Site) -> Path:
    """The file of a baseline."""
    return write_baseline(baseline(), site)


def written(site: Site, value: Any, name: str = "v1.2") -> Path:
    """A document that is in the canonical form, sealed by whoever changed it."""
    plain = msgspec.to_builtins(value)
    content = {key: item for key, item in plain.items() if key != "digest"}
    site.baselines.mkdir(parents=True, exist_ok=True)
    file = site.baselines / f"{name}.json"
    file.write_bytes(pretty_json({**content, "digest": signature(content)}))
    return file


def refusal(path: Path) -> HarnessError:
    with pytest.raises(HarnessError) as refused:
        read_baseline(path)
    assert path.name in refused.value.message
    return refused.value


def test_a_baseline_reads_as_it_was_written(baseline, site, path):
    assert path == site.root / "lockfiles/baselines/v1.2.json"
    assert read_baseline(path) == baseline()
    assert path.read_bytes() == pretty_json(baseline())


def test_the_helper_that_seals_changed_baselines_seals_as_the_harness_does(baseline, site):
    assert read_baseline(written(site, baseline())) == baseline()


def test_the_order_in_which_it_is_put_together_changes_no_byte(baseline, state, golden):
    states = [state(), state(name="host")]
    runs = [golden(), golden(experiment="another"), golden(environment="host"), golden(quick=False)]
    one = baseline(environments=states, golden=runs)
    other = baseline(environments=states[::-1], golden=runs[::-1])
    assert pretty_json(one) == pretty_json(other)
    assert one.digest != baseline().digest


def test_a_changed_byte_of_any_kind_is_refused(path):
    data = path.read_bytes()
    version = data.index(b"harness.baseline/1") + len("harness.baseline/")
    places = {data[place]: place for place in range(len(data))} | {byte: data.index(byte) for byte in set(data)}
    positions = {*places.values(), *range(0, len(data), len(data) // 40), 0, len(data) - 1, version}
    for position in sorted(positions):
        changed = bytearray(data)
        changed[position] ^= 1
        path.write_bytes(changed)
        expected = ExitCode.USAGE if position == version else ExitCode.INTEGRITY
        error = refusal(path)
        assert error.exit_code == expected, (position, error)
        assert error.hint is not None
        assert "--replace" not in error.hint, error.hint
    path.write_bytes(data)
    read_baseline(path)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data + b"\n",
     lambda data: data.replace(b"\n", b"\r\n"), lambda data: b"\xef\xbb\xbf" + data, lambda data: b"\xff" + data,
     lambda data: b"[" * 5_000, lambda data: b'{"schema": "harness.baseline/1", "x": ' + b"[" * 100_000,
     lambda data: b"null", lambda data: b"{}"],
)  # fmt: skip
def test_a_damaged_file_is_an_integrity_failure(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    error = refusal(path)
    assert error.exit_code == ExitCode.INTEGRITY
    assert "version control" in error.hint
    assert "--replace" not in error.hint


def test_another_form_of_the_same_content_is_refused(path):
    data = path.read_bytes()
    document = json.loads(data)
    twice = data.replace(b'  "schema":', b'  "schema": "harness.baseline/1",\n  "schema":')
    unsorted = json.dumps(dict(reversed(document.items())), indent=2, ensure_ascii=False).encode() + b"\n"
    for other in (json.dumps(document).encode(), twice, unsorted, data.replace(b'"rmse": 0.05', b'"rmse": 5e-2')):
        assert other != data
        path.write_bytes(other)
        error = refusal(path)
        assert (error.exit_code, "by hand" in error.message) == (ExitCode.INTEGRITY, True)


def test_another_version_of_the_schema_is_a_usage_error_and_another_document_is_damage(baseline, site):
    newer = written(site, msgspec.structs.replace(baseline(), schema="harness.baseline/2"))
    error = refusal(newer)
    assert (error.exit_code, "harness.baseline/2" in error.message) == (ExitCode.USAGE, True)
    assert "version of harness" in error.hint
    foreign = written(site, msgspec.structs.replace(baseline(), schema="harness.manifest/1"))
    assert refusal(foreign).exit_code == ExitCode.INTEGRITY


@pytest.mark.parametrize("where", [(), ("environments", "cpu"), ("environments", "cpu", "survey", "captured")])
def test_an_unknown_or_a_missing_field_is_refused_at_any_depth(baseline, site, where):
    for change in (lambda part: part.update(more=1), lambda part: part.pop(sorted(part)[0])):
        document = msgspec.to_builtins(baseline())
        part = document
        for key in where:
            part = part[key]
        change(part)
        assert refusal(written(site, document)).exit_code == ExitCode.INTEGRITY


def test_a_file_called_after_another_release_is_refused_with_both_names(path):
    copy = path.with_name("v1.3.json")
    copy.write_bytes(path.read_bytes())
    error = refusal(copy)
    assert error.exit_code == ExitCode.USAGE
    assert "v1.2" in error.message


def test_what_is_no_plain_file_of_a_sensible_size_is_refused(path, monkeypatch):
    folder = path.with_name("folder.json")
    folder.mkdir()
    pipe = path.with_name("pipe.json")
    os.mkfifo(pipe)
    for bad in (folder, pipe, path.with_name("gone.json")):
        assert refusal(bad).exit_code == ExitCode.USAGE
    monkeypatch.setattr(module, "MAX_BYTES", path.stat().st_size)
    read_baseline(path)
    monkeypatch.setattr(module, "MAX_BYTES", path.stat().st_size - 1)
    assert "larger" in refusal(path).message


def _renamed(whole: Baseline) -> Baseline:
    return msgspec.structs.replace(whole, environments={"other": whole.environments["cpu"]}, golden=())


def _unsurveyed(whole: Baseline) -> Baseline:
    state = msgspec.structs.replace(whole.environments["cpu"], survey=None, unsurveyed="no GPU")
    return msgspec.structs.replace(whole, environments={"cpu": state})


def _with_sources(whole: Baseline, **fields: Any) -> Baseline:
    state = whole.environments["cpu"]
    state = msgspec.structs.replace(state, sources=msgspec.structs.replace(state.sources, **fields))
    return msgspec.structs.replace(whole, environments={"cpu": state})


def _other_wheel(whole: Baseline) -> Baseline:
    lock = whole.environments["cpu"].sources.python
    wheel = msgspec.structs.replace(lock.wheels[0], digest=NOTHING)
    return _with_sources(whole, python=msgspec.structs.replace(lock, wheels=(wheel, *lock.wheels[1:])))


def _other_package(whole: Baseline) -> Baseline:
    lock = whole.environments["cpu"].sources.debian
    return _with_sources(whole, debian=msgspec.structs.replace(lock, packages=lock.packages[1:]))


def _other_spec(whole: Baseline) -> Baseline:
    spec = whole.environments["cpu"].sources.spec
    return _with_sources(whole, spec=msgspec.structs.replace(spec, links={}))


def _other_variables(whole: Baseline) -> Baseline:
    return _with_sources(whole, variables={**whole.environments["cpu"].sources.variables, "LC_ALL": "tr_TR.UTF-8"})


def _fewer_digests(whole: Baseline) -> Baseline:
    return _with_sources(whole, digests={"spec": whole.environments["cpu"].sources.digests["spec"]})


def _golden(whole: Baseline, **fields: Any) -> Baseline:
    return msgspec.structs.replace(whole, golden=(msgspec.structs.replace(whole.golden[0], **fields),))


def _other_fingerprint(whole: Baseline) -> Baseline:
    first, *rest = whole.golden[0].cells
    return _golden(whole, cells=(msgspec.structs.replace(first, fingerprint=NOTHING), *rest))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_renamed, "other is called cpu"),
        (lambda whole: msgspec.structs.replace(whole, environments={}, golden=()), "no environment"),
        (_unsurveyed, "cpu was not surveyed"),
        (_other_wheel, "python.txt"),
        (_other_package, "debian.lock"),
        (_other_spec, "spec"),
        (_other_variables, "variables"),
        (_fewer_digests, "debian.lock"),
        (lambda whole: _golden(whole, environment="host"), "is of host"),
        (lambda whole: _golden(whole, cells=whole.golden[0].cells[::-1]), "not sorted"),
        (lambda whole: _golden(whole, cells=whole.golden[0].cells[:1] * 2), "there twice"),
        (lambda whole: _golden(whole, cells=()), "none is"),
        (lambda whole: msgspec.structs.replace(whole, golden=whole.golden * 2), "there twice"),
        (_other_fingerprint, "fingerprint"),
    ],
)
def test_a_baseline_that_contradicts_itself_is_refused_though_its_seal_holds(baseline, site, change, named):
    error = refusal(written(site, change(baseline())))
    assert (error.exit_code, named in error.message) == (ExitCode.INTEGRITY, True), error.message


def test_what_contradicts_itself_is_not_sealed_either(baseline, golden):
    with pytest.raises(IntegrityError, match="is of cuda"):
        baseline(golden=[golden(environment="cuda")])
    with pytest.raises(IntegrityError, match="there twice"):
        baseline(golden=[golden(), golden()])


@pytest.mark.parametrize(
    "release", ["", "../v1", "v1 2", "v1/2", ".v1", "CON", "v" * 101, "v1\n", "v1.json", "v1.JSON"]
)
def test_a_release_needs_a_name_that_a_file_can_have(baseline, release):
    with pytest.raises(UsageError, match="release"):
        baseline(release=release)


def test_releases_come_by_version_and_other_names_first(baseline, site):
    for release in ("v1.10", "1.9.1", "v1.2", "nightly", "v1.10rc1", "before=all"):
        write_baseline(baseline(release=release), site)
    (site.baselines / "rules.yaml").write_text("")
    (site.baselines / ".v9.json.leftover.json").write_text("")
    assert baseline_names(site) == ("before=all", "nightly", "v1.2", "1.9.1", "v1.10rc1", "v1.10")
    assert find_baseline(site, None).release == "v1.10"
    assert find_baseline(site, "nightly").release == "nightly"


def test_a_baseline_is_found_by_its_path_too(baseline, site, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    assert find_baseline(site, "v1.2.json") == find_baseline(site, str(path)) == baseline()


def test_without_a_baseline_the_first_step_is_said(site):
    with pytest.raises(UsageError) as refused:
        find_baseline(site, None)
    assert "harness baseline create --release v1.0" in refused.value.hint


def test_an_unknown_release_is_refused_with_those_that_there_are(site, path):
    for name in ("v1.3", "V1.2", "../v1"):
        with pytest.raises(HarnessError) as refused:
            find_baseline(site, name)
        assert refused.value.exit_code == ExitCode.USAGE
    with pytest.raises(UsageError) as refused:
        find_baseline(site, "v1.3")
    assert "v1.2" in refused.value.hint


@pytest.mark.parametrize("twin", ["V1.2", "1.2.0", "v1.2.0"])
def test_two_baselines_of_the_same_release_are_refused_with_both_names(baseline, site, path, twin):
    with pytest.raises(UsageError, match=r"same as v1\.2"):
        write_baseline(baseline(release=twin), site, replace=True)
    written(site, baseline(release=twin), twin)
    for name in (None, "v1.2", twin):
        with pytest.raises(UsageError) as refused:
            find_baseline(site, name)
        assert "v1.2" in refused.value.message
        assert twin in refused.value.message


def test_two_files_of_one_name_are_refused_whatever_the_case_of_their_suffix(baseline, site, path):
    path.with_suffix(".JSON").write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match=r"two files of the release v1\.2"):
        find_baseline(site, None)


def test_names_that_are_no_versions_may_not_differ_in_case_alone_either(baseline, site):
    write_baseline(baseline(release="nightly"), site)
    write_baseline(baseline(release="nightly-b"), site)
    with pytest.raises(UsageError, match="Nightly is the same as nightly"):
        write_baseline(baseline(release="Nightly"), site)


def test_a_copy_beside_it_is_refused_by_its_name(site, path):
    (site.baselines / "v1.2 (copy).json").write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match="copy"):
        find_baseline(site, None)


def test_the_same_release_made_again_says_that_nothing_changed(baseline, site, path):
    before = path.stat()
    assert write_baseline(baseline(), site) == path
    assert "nothing changed" in site.progress.notes[-1]
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_another_content_is_refused_unless_it_is_to_replace(baseline, site, path):
    other = baseline(commit=None, dirty=None)
    with pytest.raises(UsageError, match="another content") as refused:
        write_baseline(other, site)
    assert "--replace" in refused.value.hint
    assert read_baseline(path) == baseline()
    write_baseline(other, site, replace=True)
    assert read_baseline(path) == other


def test_a_place_that_cannot_be_written_is_named(baseline, site):
    site.baselines.parent.mkdir(parents=True, exist_ok=True)
    site.baselines.write_text("a file where the folder should be")
    with pytest.raises(UsageError, match=r"v1\.2\.json cannot be written"):
        write_baseline(baseline(), site)


def test_a_damaged_baseline_can_be_replaced(baseline, site, path):
    path.write_bytes(b"{")
    with pytest.raises(UsageError):
        write_baseline(baseline(), site)
    write_baseline(baseline(), site, replace=True)
    assert read_baseline(path) == baseline()


def test_a_baseline_of_another_project_is_a_usage_error(baseline, site):
    check_applies(baseline(), site)
    with pytest.raises(UsageError) as refused:
        check_applies(baseline(project="another"), site)
    assert refused.value.exit_code == ExitCode.USAGE
    assert "another" in refused.value.message
    assert "project" in refused.value.message


def test_a_baseline_of_another_architecture_is_incomparable(baseline, site, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(IncomparableError) as refused:
        check_applies(baseline(), site)
    assert refused.value.exit_code == ExitCode.INCOMPARABLE
    assert "x86_64" in refused.value.message
    assert "aarch64" in refused.value.message
    check_applies(baseline(architecture="aarch64"), site)


def test_a_project_is_called_as_it_says_itself_and_else_after_its_folder(site):
    assert site.project == "project"
    file = site.root / "pyproject.toml"
    for text, name in (
        ('[project]\nname = "ours"\n', "ours"),
        ("[tool.ruff]\n", "project"),
        ("[project]\nname = 3\n", "project"),
    ):
        file.write_text(text)
        assert site.project == name
    for broken in ("[project\n", "project = 3\n"):
        file.write_text(broken)
        with pytest.raises(UsageError, match=r"pyproject.toml"):
            _ = site.project


def test_an_integral_metric_is_sealed_as_the_float_that_will_be_read(baseline, golden, site):
    cells = tuple(msgspec.structs.replace(cell, metrics={"rmse": 1, "ic": None}) for cell in golden().cells)
    whole = baseline(golden=[golden(cells=cells)])
    assert read_baseline(write_baseline(whole, site)) == whole


def test_sealing_takes_every_field_into_the_digest(baseline, state, golden):
    digests = [
        baseline(**change).digest
        for change in (
            {}, {"release": "v1.3"}, {"project": "p"}, {"architecture": "a"}, {"commit": None}, {"dirty": True},
            {"code": NOTHING}, {"golden": []}, {"environments": [state(), state(name="host")]},
        )
    ]  # fmt: skip
    assert len(set(digests)) == len(digests)
