from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.record.environment import PROBED as PROBED_LIBRARIES
from harness.record.hashing import signature
from harness.release.numbers import (
    Evidence,
    GoldenEvidence,
    computing,
    gather,
    golden_differences,
    probe_differences,
    used_libraries,
)
from harness.release.report import Answer, GoldenCell, Kind, Layer
from harness.release.rules import load_rules
from harness.spec.digest import digest_from_hex

replace = msgspec.structs.replace
ONE, TWO = (digest_from_hex(digit * 64) for digit in "12")
CHANGED, UNCHANGED, NOT_TESTED = Answer
NOTHING = Evidence({}, frozenset(), ())


def probing(state, probe):
    inside = replace(state.survey.captured, probe=probe)
    return replace(state, survey=replace(state.survey, captured=inside))


def cell(family: str = "ridge", **fields: Any) -> GoldenCell:
    whole: dict[str, Any] = {
        "experiment": "e", "target": "t", "view": "CROSS_SECTIONAL", "symbol": None, "family": family,
        "answer": Answer.CHANGED, "before": ONE, "after": TWO,
    }  # fmt: skip
    return GoldenCell(**whole | fields)


def test_kernels_that_differ_come_or_go_are_differences(state):
    old, new = {"numpy": {"exp": ONE, "log": ONE, "sin": ONE}}, {"numpy": {"exp": TWO, "log": ONE, "cos": ONE}}
    found = probe_differences(probing(state(), old), probing(state(), new))
    assert [(item.layer, item.path, item.kind) for item in found] == [
        (Layer.PROBE, "numpy/cos", Kind.ADDED),
        (Layer.PROBE, "numpy/exp", Kind.CHANGED),
        (Layer.PROBE, "numpy/sin", Kind.REMOVED),
    ]


def test_a_library_that_is_probed_on_one_side_alone_has_all_its_kernels_changed(state):
    old, new = {"numpy": {"exp": ONE}}, {"numpy": {"exp": ONE}, "torch": {"mm": ONE}}
    evidence = gather(probing(state(), old), probing(state(), new), {}, ())
    assert (evidence.kernels, evidence.compared) == ({"torch": ("mm",)}, frozenset({"numpy"}))


def test_a_side_without_a_survey_gives_no_evidence(state):
    for one, two in ((state(), state(survey=None)), (state(survey=None), state())):
        assert probe_differences(one, two) == ()
        assert gather(one, two, {}, ()) == NOTHING


def test_golden_cells_that_changed_are_differences_and_others_are_not():
    same = cell("lightgbm", answer=Answer.UNCHANGED, after=ONE)
    found = golden_differences([cell(), same, cell("torch_mlp", answer=Answer.NOT_TESTED, after=None)])
    assert [(item.path, item.before, item.after) for item in found] == [("e/t/CROSS_SECTIONAL/all/ridge", ONE, TWO)]


BOTH = frozenset({"numpy", "torch"})
PROBED = Evidence({}, BOTH, (), BOTH)
MOVED = Evidence({"numpy": ("exp",)}, BOTH, (), BOTH)
BESIDE = replace(PROBED, installed=BOTH | {"catboost"})
"""What no probe knows is installed too."""


def golden(answer: Answer, libraries: set[str] | None, of: Evidence = NOTHING) -> Evidence:
    cell = GoldenEvidence("g", answer, None if libraries is None else frozenset(libraries))
    return replace(of, golden=(*of.golden, cell))


@pytest.mark.parametrize(
    ("evidence", "scope", "answer"),
    [
        (PROBED, None, UNCHANGED),
        (PROBED, {"numpy"}, UNCHANGED),
        (PROBED, {"numpy", "catboost"}, NOT_TESTED),
        (replace(PROBED, installed=BOTH | {"scipy"}), None, NOT_TESTED),
        (golden(UNCHANGED, {"numpy"}, replace(PROBED, installed=BOTH | {"scipy"})), None, NOT_TESTED),
        (golden(UNCHANGED, {"numpy", "scipy"}, replace(PROBED, installed=BOTH | {"scipy"})), None, UNCHANGED),
        (BESIDE, {"numpy"}, UNCHANGED),
        (BESIDE, None, NOT_TESTED),
        (BESIDE, {"catboost"}, NOT_TESTED),
        (golden(UNCHANGED, {"numpy"}, BESIDE), {"catboost"}, UNCHANGED),
        (golden(UNCHANGED, None, BESIDE), {"catboost"}, UNCHANGED),
        (golden(UNCHANGED, {"numpy"}, BESIDE), None, UNCHANGED),
        (golden(CHANGED, {"numpy"}, BESIDE), {"catboost"}, CHANGED),
        (golden(NOT_TESTED, {"numpy"}, golden(UNCHANGED, {"numpy"}, BESIDE)), {"catboost"}, NOT_TESTED),
        (PROBED, set(), NOT_TESTED),
        (MOVED, None, CHANGED),
        (MOVED, {"numpy", "torch"}, CHANGED),
        (MOVED, {"torch"}, UNCHANGED),
        (NOTHING, None, NOT_TESTED),
        (NOTHING, {"numpy"}, NOT_TESTED),
        (golden(CHANGED, {"numpy"}), {"numpy"}, CHANGED),
        (golden(CHANGED, {"numpy"}), {"torch"}, NOT_TESTED),
        (golden(CHANGED, None), {"torch"}, CHANGED),
        (golden(UNCHANGED, {"numpy"}), {"numpy"}, UNCHANGED),
        (golden(UNCHANGED, {"numpy"}), {"torch"}, NOT_TESTED),
        (golden(UNCHANGED, None), {"numpy"}, NOT_TESTED),
        (golden(UNCHANGED, {"numpy"}), None, NOT_TESTED),
        (golden(NOT_TESTED, {"numpy"}), {"numpy"}, NOT_TESTED),
    ],
)
def test_numbers_are_unchanged_only_where_all_that_could_move_was_looked_at(evidence, scope, answer):
    assert evidence.answer(scope if scope is None else frozenset(scope)) is answer


@pytest.mark.parametrize(
    ("evidence", "scope", "left"),
    [
        (PROBED, None, ()),
        (BESIDE, None, ("catboost",)),
        (BESIDE, {"torch", "scipy"}, ("scipy",)),
        (golden(UNCHANGED, {"numpy"}, BESIDE), None, ()),
        (golden(UNCHANGED, {"numpy"}), {"numpy", "torch"}, ("torch",)),
    ],
)
def test_what_nothing_looked_at_is_named(evidence, scope, left):
    assert evidence.untested(scope if scope is None else frozenset(scope)) == left


def test_goldens_that_were_not_run_again_count_as_not_tested(state):
    run = cell("lightgbm", answer=UNCHANGED)
    used = {run.path: frozenset({"numpy"}), "another": frozenset({"torch"})}
    assert gather(state(), state(), {run.path: used[run.path]}, [run]).answer_of_golden_runs() is UNCHANGED
    evidence = gather(state(), state(), used, [run])
    assert evidence.answer_of_golden_runs() is NOT_TESTED
    assert [each.answer for each in evidence.golden] == [UNCHANGED, NOT_TESTED]


def test_what_computes_is_what_the_probe_knows_and_what_moves_numbers_of_its_own(state, cpu_sources):
    rules, whole = load_rules(Path("nowhere")), state()
    assert computing(whole, whole, rules) == set(PROBED_LIBRARIES)
    libraries = whole.survey.captured.libraries
    inside = replace(whole.survey.captured, libraries={**libraries, "catboost": libraries["numpy"]})
    more = replace(whole, survey=replace(whole.survey, captured=inside))
    for sides in ((whole, more), (more, whole)):
        assert computing(*sides, rules) == {*PROBED_LIBRARIES, "catboost"}
    few = replace(
        cpu_sources,
        python=replace(cpu_sources.python, wheels=tuple(w for w in cpu_sources.python.wheels if w.name == "numpy")),
    )
    alone = state(sources=few)
    assert computing(alone, alone, rules) == {"python", "numpy"}


@pytest.mark.parametrize(
    ("evidence", "answer"),
    [
        (PROBED, NOT_TESTED),
        (MOVED, CHANGED),
        (golden(UNCHANGED, None), UNCHANGED),
        (golden(CHANGED, {"numpy"}), CHANGED),
        (golden(NOT_TESTED, {"numpy"}), NOT_TESTED),
    ],
)
def test_only_golden_runs_say_that_changed_code_moved_nothing(evidence, answer):
    assert evidence.answer_of_golden_runs() is answer


def test_evidence_names_kernels_and_golden_cells():
    both = Evidence({"torch": ("mm",), "numpy": ("exp", "log")}, frozenset(), (GoldenEvidence("g", CHANGED, None),))
    assert both.about(None) == ("numpy/exp", "numpy/log", "torch/mm", "g")
    assert both.about(frozenset({"torch"})) == ("torch/mm", "g")


@pytest.mark.parametrize(
    ("family", "signed", "libraries"),
    [
        ("lightgbm", ("lightgbm", "numpy"), {"lightgbm", "numpy"}),
        ("torch_mlp", ("numpy", "torch"), {"numpy", "torch"}),
        ("ridge", ("numpy",), {"numpy"}),
        ("my_own_stack", ("numpy", "scipy", "torch"), {"numpy", "scipy", "torch"}),
    ],
)
def test_the_libraries_of_a_family_are_found_by_what_it_signed(state, golden, family, signed, libraries):
    probe, run = state().survey.captured.probe, golden()
    group = {**run.cells[0].group, "probe_signature": signature({name: probe[name] for name in signed})}
    run = replace(run, cells=(replace(run.cells[0], family=family, group=group),))
    assert list(used_libraries([run], probe).values()) == [frozenset(libraries)]


def test_where_no_libraries_give_the_signature_the_familys_name_says_them_or_nobody_can(state, golden):
    run = golden()  # its probe signatures are nobody's
    named = replace(
        run, cells=tuple(replace(cell, family=f) for cell, f in zip(run.cells, ("xgboost", "mine"), strict=False))
    )
    found = used_libraries([named], state().survey.captured.probe)
    assert set(found.values()) == {frozenset({"numpy", "xgboost"}), None}
