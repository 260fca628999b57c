from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.record.hashing import signature
from harness.release.report import (
    Answer,
    Change,
    DriftReport,
    EnvironmentDrift,
    Kind,
    Layer,
    Severity,
    WaiverOutcome,
    WaiverState,
)
from harness.release.waivers import (
    LONGEST,
    Examined,
    apply_waivers,
    draft_waivers,
    load_waivers,
    needs_waiver,
    unanswered,
)
from harness.spec.documents import MAX_BYTES

TODAY = date(2026, 11, 22)
WAIVER = """\
waivers:
  - id: openblas
    author: Ada Lovelace
    reason: >
      Security fix, no kernel of ours moved.
    expires: 2027-01-31
    environment: cpu
    covers:
      - layer: wheel
        path: numpy
        before: "1.26.4"
        after: 2.4.6
"""


def change(
    layer: Layer = Layer.WHEEL, path: str = "numpy", before: str | None = "1.26.4", after: str | None = "2.4.6",
    **fields: Any,
) -> Change:  # fmt: skip
    return Change(
        **{
            "environment": "cpu", "layer": layer, "path": path, "kind": Kind.CHANGED, "before": before, "after": after,
            "severity": Severity.MAJOR, "why": "", "can_move_numbers": True, "numbers": Answer.UNCHANGED,
            "fingerprint": signature([layer, path]), **fields,
        }
    )  # fmt: skip


def drift(*changes: Change, name: str = "cpu") -> EnvironmentDrift:
    return EnvironmentDrift(
        name=name, candidate=name, environment=Answer.CHANGED, numbers=Answer.UNCHANGED, tested_by=("probe",),
        not_tested=(), changes=changes, golden=(), expired=(), measured_at=None,
    )  # fmt: skip


def report(*drifts: EnvironmentDrift) -> DriftReport:
    digest = signature("")
    return DriftReport(
        project="p", baseline="v1", baseline_digest=digest, commit=None, created_at="", rules=digest,
        environments=drifts, waivers=(), exit_code=1,
    )  # fmt: skip


EVERYTHING = {"cpu": Examined(frozenset(Layer))}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "v1.waivers.yaml"
    path.write_text(WAIVER)
    return path


def judged(
    file: Path, *drifts: EnvironmentDrift, today: date = TODAY, examined: Mapping[str, Examined] = EVERYTHING
) -> tuple[tuple[EnvironmentDrift, ...], WaiverOutcome]:
    found, outcomes = apply_waivers(drifts, load_waivers(file, today=TODAY), today=today, examined=examined)
    assert len(outcomes) == 1
    return found, outcomes[0]


def test_a_waiver_covers_the_change_that_it_names(file: Path) -> None:
    other = change(path="scipy")
    found, outcome = judged(file, drift(change(), other))
    assert [item.waived_by for item in found[0].changes] == ["openblas", None]
    assert outcome.state is WaiverState.USED
    assert (outcome.author, outcome.reason) == ("Ada Lovelace", "Security fix, no kernel of ours moved.\n")
    assert not found[0].changes[0].fails
    assert found[0].changes[1].fails


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (change(after="2.4.7"), "1.26.4 → 2.4.7"),
        (change(before="1.26.3"), "1.26.3 → 2.4.6"),
        (change(before=None), "added 2.4.6"),
        (change(after=None), "removed 1.26.4"),
    ],
)
def test_other_values_at_the_same_place_are_not_covered_and_are_named(file: Path, other: Change, named: str) -> None:
    found, outcome = judged(file, drift(other))
    assert found[0].changes[0].waived_by is None
    assert outcome.state is WaiverState.UNMATCHED
    assert outcome.detail == f"no such change: wheel numpy (1.26.4 → 2.4.6); what changed there is {named}"


@pytest.mark.parametrize("others", [(), (change(path="numpy2"),), (change(layer=Layer.LOCK),)])
def test_a_waiver_that_matches_nothing_is_unmatched(file: Path, others: tuple[Change, ...]) -> None:
    found, outcome = judged(file, drift(*others))
    assert outcome.state is WaiverState.UNMATCHED
    assert outcome.detail == "no such change: wheel numpy (1.26.4 → 2.4.6)"
    assert all(item.waived_by is None for item in found[0].changes)


def test_a_waiver_of_another_environment_covers_nothing_here(file: Path) -> None:
    found, outcome = judged(file, drift(change(), name="cuda"), examined={"cuda": Examined(frozenset(Layer))})
    assert found[0].changes[0].waived_by is None
    assert outcome.state is WaiverState.NOT_EXAMINED
    assert "cpu was not looked at" in outcome.detail


def test_null_covers_an_addition_and_not_the_text_null(file: Path) -> None:
    file.write_text(WAIVER.replace('"1.26.4"', "null"))
    assert judged(file, drift(change(before=None)))[1].state is WaiverState.USED
    assert judged(file, drift(change(before="null")))[1].state is WaiverState.UNMATCHED
    file.write_text(WAIVER.replace('"1.26.4"', '"null"'))
    assert judged(file, drift(change(before="null")))[1].state is WaiverState.USED
    assert judged(file, drift(change(before=None)))[1].state is WaiverState.UNMATCHED


def test_a_waiver_holds_through_its_day_and_covers_nothing_after_it(file: Path) -> None:
    last = date(2027, 1, 31)
    found, outcome = judged(file, drift(change()), today=last)
    assert (outcome.state, found[0].changes[0].waived_by) == (WaiverState.USED, "openblas")
    found, outcome = judged(file, drift(change()), today=last + timedelta(1))
    assert (outcome.state, found[0].changes[0].waived_by) == (WaiverState.EXPIRED, None)
    assert "2027-01-31" in outcome.detail


@pytest.mark.parametrize("examined", [EVERYTHING, {}])
def test_an_expired_waiver_is_expired_where_nothing_matches_too(file: Path, examined: dict[str, Examined]) -> None:
    assert judged(file, drift(), today=date(2027, 2, 1), examined=examined)[1].state is WaiverState.EXPIRED


def test_what_was_not_looked_at_is_neither_used_nor_unmatched(file: Path) -> None:
    layers = frozenset(Layer) - {Layer.WHEEL}
    assert judged(file, drift(), examined={"cpu": Examined(layers)})[1].state is WaiverState.NOT_EXAMINED
    left_out = {"cpu": Examined(frozenset(Layer), frozenset({"wheel numpy"}))}
    outcome = judged(file, drift(), examined=left_out)[1]
    assert outcome.state is WaiverState.NOT_EXAMINED
    assert "wheel numpy" in outcome.detail
    elsewhere = {"cpu": Examined(frozenset(Layer), frozenset({"wheel scipy"}))}
    assert judged(file, drift(), examined=elsewhere)[1].state is WaiverState.UNMATCHED


def test_of_several_entries_the_one_that_matches_nothing_is_named(file: Path) -> None:
    file.write_text(WAIVER + "      - {layer: probe, path: numpy/exp64, before: a, after: b}\n")
    exp = change(Layer.PROBE, "numpy/exp64", "a", "b")
    found, outcome = judged(file, drift(change(), exp))
    assert [item.waived_by for item in found[0].changes] == ["openblas", "openblas"]
    assert outcome.state is WaiverState.USED
    outcome = judged(file, drift(change()))[1]
    assert (outcome.state, outcome.detail) == (WaiverState.UNMATCHED, "no such change: probe numpy/exp64 (a → b)")
    blind = {"cpu": Examined(frozenset(Layer) - {Layer.PROBE})}
    outcome = judged(file, drift(change()), examined=blind)[1]
    assert (outcome.state, outcome.detail) == (WaiverState.USED, "covers 1 of the changes; 1 not looked at")


@pytest.mark.parametrize(
    ("old", "new", "line", "named"),
    [
        ("    reason: >\n      Security fix, no kernel of ours moved.\n", "", 2, "waivers[0] has no reason"),
        ("    reason: >\n      Security fix, no kernel of ours moved.", '    reason: "  "', 4, "waivers[0].reason"),
        ("reason: >\n      Security fix, no kernel of ours moved.", 'reason: "\\u200b"', 4, "waivers[0].reason"),
        ("    author: Ada Lovelace\n", "", 2, "waivers[0] has no author"),
        ("author: Ada Lovelace", 'author: ""', 3, "waivers[0].author"),
        ("author: Ada Lovelace", "author: [Ada]", 3, "waivers[0].author"),
        ("author: Ada Lovelace", "auther: Ada Lovelace", 3, "waivers[0].auther"),
        ("id: openblas", "id: a b", 2, "waivers[0].id"),
        ("expires: 2027-01-31", "expires: soon", 6, "waivers[0].expires"),
        ("expires: 2027-01-31", 'expires: ""', 6, "waivers[0].expires"),
        ("expires: 2027-01-31", "expires:", 6, "waivers[0].expires"),
        ("expires: 2027-01-31", "expires: 20270131", 6, "waivers[0].expires"),
        ("expires: 2027-01-31", "expires: 2027-02-30", 6, "waivers[0].expires"),
        ("expires: 2027-01-31", "expires: 2027-01-31T00:00:00", 6, "waivers[0].expires"),
        ("expires: 2027-01-31", "expires: 2062-01-31", 6, "more than 366 days"),
        ("    expires: 2027-01-31\n", "", 2, "expires"),
        ("layer: wheel", "layer: wheels", 9, "Did you mean wheel?"),
        ('before: "1.26.4"', "before: 1.26", 11, "Put it in quotes"),
        ('        before: "1.26.4"\n', "", 9, "has no before"),
        ("environment: cpu", "environment: cpu\n    covers: []", 9, "is given twice"),
        ("waivers:", "waiver:", 1, "waiver is not a known key"),
        ("  - id: openblas", "  - id: 'openblas", None, "not valid YAML"),
    ],
)
def test_a_bad_file_is_refused_by_line_and_key(file: Path, old: str, new: str, line: int | None, named: str) -> None:
    assert old in WAIVER
    file.write_text(WAIVER.replace(old, new))
    with pytest.raises(UsageError) as caught:
        load_waivers(file, today=TODAY)
    assert str(caught.value).startswith(str(file) + (f", line {line}:" if line else ", line "))
    assert named in str(caught.value)


def test_covers_that_are_empty_are_refused(file: Path) -> None:
    file.write_text(WAIVER.partition("    covers:")[0] + "    covers: []\n")
    with pytest.raises(UsageError, match=r"line 8: waivers\[0\]\.covers is empty"):
        load_waivers(file, today=TODAY)


def test_two_waivers_of_one_id_or_of_one_change_are_refused(file: Path) -> None:
    again = WAIVER.partition("\n")[2]
    file.write_text(WAIVER + again)
    with pytest.raises(UsageError, match=r"line 13: waivers\[1\]\.id is 'openblas'"):
        load_waivers(file, today=TODAY)
    file.write_text(WAIVER + again.replace("openblas", "other"))
    with pytest.raises(UsageError, match=r"line 20: waivers\[1\]\.covers\[0\] covers wheel numpy .* openblas"):
        load_waivers(file, today=TODAY)
    file.write_text(WAIVER + again.replace("openblas", "other").replace("environment: cpu", "environment: host"))
    assert [waiver.environment for waiver in load_waivers(file, today=TODAY)] == ["cpu", "host"]


def test_an_expiry_may_be_a_year_ahead_and_no_more(file: Path) -> None:
    for day in (TODAY + LONGEST, date(2020, 1, 1)):
        file.write_text(WAIVER.replace("2027-01-31", str(day)))
        assert load_waivers(file, today=TODAY)[0].expires == str(day)
    file.write_text(WAIVER.replace("2027-01-31", str(TODAY + LONGEST + timedelta(1))))
    with pytest.raises(UsageError, match="366 days from today"):
        load_waivers(file, today=TODAY)


@pytest.mark.parametrize("content", [b"", b"- 1\n", b"\xff", b"waivers: {a\n", b"#" * (MAX_BYTES + 1), b"waivers: 1\n"])
def test_what_is_no_file_of_waivers_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"v1\.waivers\.yaml"):
        load_waivers(file, today=TODAY)


def test_a_missing_file_is_refused_and_an_empty_list_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml cannot be read"):
        load_waivers(tmp_path / "nowhere.yaml", today=TODAY)
    (tmp_path / "none.yaml").write_text("waivers: []\n")
    assert load_waivers(tmp_path / "none.yaml", today=TODAY) == ()


def filled(draft: str) -> str:
    return (
        draft.replace('author: ""', "author: Ada").replace('reason: ""', "reason: Fine").replace(
            'expires: ""', "expires: 2027-01-01"
        )
    )  # fmt: skip


def test_a_draft_covers_what_keeps_a_check_from_passing_and_nothing_else() -> None:
    root = ("wheel numpy",)
    needed = (
        change(),
        change(Layer.PROBE, "numpy/exp64", "a", "b", severity=Severity.NONE, follows_from=root),
        change(Layer.WHEEL, "odd", numbers=Answer.NOT_TESTED),
    )
    others = (
        change(Layer.WHEEL, "unknown", numbers=Answer.NOT_TESTED, severity=Severity.NONE),
        change(Layer.IMAGE, "manifest", "c", "d", follows_from=root),
        change(Layer.KERNEL, "release", "6.1", "6.2", severity=Severity.NONE, numbers=None),
        change(Layer.WHEEL, "scipy", waived_by="old"),
    )
    assert all(map(needs_waiver, needed))
    assert not any(map(needs_waiver, others))
    whole = report(drift(*others, *needed))
    assert unanswered(whole) == needed
    document = yaml.safe_load(draft_waivers(whole))
    assert [cover["path"] for cover in document["waivers"][0]["covers"]] == [item.path for item in needed]


def test_a_draft_is_refused_until_it_is_filled_in_and_then_covers_everything(tmp_path: Path) -> None:
    drifts = (drift(change(), change(path="odd", before=None)), drift(change(after=None), name="host"), drift(name="x"))
    path = tmp_path / "draft.yaml"
    path.write_text(draft_waivers(report(*drifts)))
    for key, value in (("author", "Ada"), ("reason", "Fine"), ("expires", "2027-01-01")):
        with pytest.raises(UsageError, match=rf"waivers\[0\]\.{key}"):
            load_waivers(path, today=TODAY)
        path.write_text(path.read_text().replace(f'{key}: ""', f"{key}: {value}"))
    found, outcomes = apply_waivers(
        drifts, load_waivers(path, today=TODAY), today=TODAY,
        examined={name: Examined(frozenset(Layer)) for name in ("cpu", "host", "x")},
    )  # fmt: skip
    assert [outcome.state for outcome in outcomes] == [WaiverState.USED] * 2
    assert not any(needs_waiver(item) for each in found for item in each.changes)


def test_with_nothing_to_waive_a_draft_is_an_empty_list(tmp_path: Path) -> None:
    assert draft_waivers(report(drift(change(waived_by="old")))) == "waivers: []\n"


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(path=text, before=st.none() | text, after=st.none() | text)
def test_a_draft_holds_any_text_exactly(
    tmp_path_factory: pytest.TempPathFactory, path: str, before: str | None, after: str | None
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    found = change(path=path, before=before, after=after)
    file.write_text(filled(draft_waivers(report(drift(found)))), encoding="utf-8", newline="")
    (cover,) = load_waivers(file, today=TODAY)[0].covers
    assert (cover.path, cover.before, cover.after) == (path, before, after)


def test_a_draft_is_the_same_for_the_same_changes_and_has_another_id_for_others() -> None:
    def identity(*changes: Change) -> str:
        return yaml.safe_load(draft_waivers(report(drift(*changes))))["waivers"][0]["id"]

    assert identity(change()) == identity(msgspec.structs.replace(change(), why="other words"))
    assert identity(change()) != identity(change(after="2.4.7"))
