import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import ExitCode, IntegrityError, UsageError
from harness.record.archive import Archive
from harness.record.compare import SILENT_CHANGE, RunComparison, compare_cells, compare_runs, judge, judge_all
from harness.record.environment import Gpu, Library
from harness.record.jsonfile import pretty_json
from harness.record.snapshot import Code
from harness.record.verdicts import Verdict, comparison_exit_code, run_exit_code
from harness.spec.digest import Digest
from harness.spec.run import ImageReference, Mode

OTHER = Digest(f"sha256:{'b' * 64}")


def compare_scenes(before: Any, after: Any) -> dict[tuple[str, ...], Any]:
    return {old.key: compare_cells(old, new) for old, new in zip(before.cells("r1"), after.cells("r2"), strict=True)}


def only(before: Any, after: Any) -> Any:
    (comparison,) = compare_scenes(
        before.but(families=("lightgbm",), alone=()), after.but(families=("lightgbm",), alone=())
    ).values()
    return comparison


def captured(scene: Any, **changes: Any) -> Any:
    return scene.but(captured=msgspec.structs.replace(scene.captured, **changes))


def test_equal_runs_are_identical_in_every_cell(scene: Any) -> None:
    comparisons = compare_scenes(scene, scene)
    assert len(comparisons) == 4
    assert all(c.verdict is Verdict.IDENTICAL and c.reasons == () for c in comparisons.values())


def test_other_bits_in_the_same_group_are_divergent_and_the_outputs_are_named(scene: Any) -> None:
    noisy = scene.but(noise={"predictions": "x", "metrics": "x"}, metrics={"rmse": 0.1, "ic": None})
    found = only(scene, noisy)
    assert found.verdict is Verdict.DIVERGENT
    assert found.reasons == ("metrics changed", "predictions changed")
    assert found.changed_outputs == ("metrics", "predictions")
    assert found.changed_keys == ()


def test_changed_predictions_under_unchanged_metrics_are_reported(scene: Any) -> None:
    found = only(scene, scene.but(noise={"predictions": "x"}))
    assert found.verdict is Verdict.DIVERGENT
    assert found.reasons == (SILENT_CHANGE,)
    assert found.metric_deltas == {}


def test_metrics_that_moved_come_with_their_deltas(scene: Any) -> None:
    found = only(scene, scene.but(metrics={"rmse": 0.125, "ic": 0.5}, noise={"predictions": "x"}))
    assert found.verdict is Verdict.DIVERGENT
    assert msgspec.to_builtins(found.metric_deltas) == {
        "ic": {"before": None, "after": 0.5, "delta": None},
        "rmse": {"before": 0.1, "after": 0.125, "delta": pytest.approx(0.025)},
    }


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        ({"seed": 43}, "train_seed", "train_seed 42 → 43"),
        ({"data": "one cell changed"}, "dataset_signature", None),
        ({"hyperparameters": {"lightgbm": "deeper"}}, "hyperparameters_signature", None),
        ({"mode": Mode.BEST_EFFORT}, "mode", "mode strict → best_effort"),
        ({"threads": 2}, "threads_per_fit", "threads_per_fit none → 2"),
    ],
)
def test_another_group_is_incomparable_with_that_reason_alone(
    scene: Any, change: dict[str, Any], key: str, reason: str | None
) -> None:
    found = only(scene, scene.but(**change))
    assert found.verdict is Verdict.INCOMPARABLE
    assert found.changed_keys == (key,)
    assert len(found.reasons) == 1
    assert found.reasons[0].startswith(f"{key} ")
    assert reason in (None, found.reasons[0])


def test_another_group_is_incomparable_even_where_the_bits_agree(scene: Any) -> None:
    found = only(scene, scene.but(probe="another probe"))
    assert found.before == found.after
    assert found.verdict is Verdict.INCOMPARABLE
    assert found.changed_keys == ("probe_signature",)


def test_one_familys_hyperparameters_concern_that_family_alone(scene: Any) -> None:
    found = compare_scenes(scene, scene.but(hyperparameters={"lightgbm": "deeper"}))
    verdicts = {key[3]: comparison.verdict for key, comparison in found.items()}
    assert verdicts == {"lightgbm": Verdict.INCOMPARABLE, "xgboost": Verdict.IDENTICAL}


class TestEnvironments:
    @pytest.mark.parametrize(
        ("change", "behind"),
        [
            ({"python": {"version": "3.11.9", "implementation": "CPython"}}, "python version 3.11.2 → 3.11.9"),
            ({"native": {"glibc": "2.41", "openblas": "0.3.31"}}, "native glibc 2.36 → 2.41"),
            ({"settings": {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}}, "setting PYTHONHASHSEED 42 → 7"),
            ({"settings": {"OMP_NUM_THREADS": "1"}}, "setting PYTHONHASHSEED 42 → none"),
            (
                {"settings": {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "42", "strict_kernels": "2"}},
                "setting strict_kernels none → 2",
            ),
            (
                {"gpu": Gpu("H100", "9.0", 132, "580.1", {"cudnn": "9.1"})},
                "gpu none → H100",
            ),
        ],
    )
    def test_the_layer_that_differs_is_named(self, scene: Any, change: dict[str, Any], behind: str) -> None:
        found = only(scene, captured(scene, **change))
        assert found.verdict is Verdict.INCOMPARABLE
        assert found.changed_keys == ("environment_signature",)
        assert found.environment_changes == (behind,)
        assert behind in found.reasons[0]

    def test_another_pinned_number_of_threads_is_left_to_the_families_that_depend_on_it(self, scene: Any) -> None:
        found = only(scene, captured(scene, settings={"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "42"}))
        assert found.changed_keys == ()

    def test_a_librarys_version_is_named(self, scene: Any) -> None:
        libraries = scene.captured.libraries | {"numpy": Library("2.5.0", OTHER)}
        assert only(scene, captured(scene, libraries=libraries)).environment_changes == ("library numpy 2.4.6 → 2.5.0",)

    def test_a_library_with_other_files_under_the_same_version_is_noticed(self, scene: Any) -> None:
        libraries = scene.captured.libraries | {"numpy": Library("2.4.6", OTHER)}
        found = only(scene, captured(scene, libraries=libraries))
        assert found.verdict is Verdict.INCOMPARABLE
        assert "library numpy 2.4.6 with other files" in found.reasons[0]

    def test_a_new_or_missing_library_is_named(self, scene: Any) -> None:
        fewer = {name: library for name, library in scene.captured.libraries.items() if name != "lightgbm"}
        found = only(scene, captured(scene, libraries=fewer))
        assert found.environment_changes == ("library lightgbm 4.7.0 → none",)

    def test_another_cpu_is_named_with_what_the_libraries_selected_on_it(self, scene: Any) -> None:
        cpu = msgspec.structs.replace(
            scene.captured.cpu, model="1", dispatch={"numpy": "X86_V3", "openblas": "Haswell"}
        )
        assert only(scene, captured(scene, cpu=cpu)).environment_changes == (
            "cpu model 2 → 1",
            "dispatch numpy X86_V4 → X86_V3",
            "dispatch openblas SkylakeX → Haswell",
        )

    def test_another_image_is_named(self, scene: Any) -> None:
        found = only(scene, scene.but(image=ImageReference("cpu", OTHER, OTHER)))
        assert found.environment_changes[0].endswith("→ bbbbbbbb")
        assert found.environment_changes[0].startswith("image manifest ")

    def test_a_run_on_the_host_is_never_comparable_with_one_in_an_image(self, scene: Any) -> None:
        found = only(scene, scene.but(image=None))
        assert found.verdict is Verdict.INCOMPARABLE
        assert found.environment_changes[0].endswith("→ none")

    def test_the_kernels_whose_probe_differs_are_named(self, scene: Any) -> None:
        probe = {"numpy": scene.captured.probe["numpy"] | {"exp": OTHER}}
        found = only(scene, captured(scene, probe=probe).but(probe="another"))
        assert found.changed_keys == ("probe_signature",)
        assert found.environment_changes == ("probe numpy/exp",)
        assert "probe numpy/exp" in found.reasons[0]

    def test_many_changes_are_counted_in_the_reason_and_all_there_for_machines(self, scene: Any) -> None:
        libraries = {f"library{number:02}": Library("1", None) for number in range(20)}
        found = only(scene, captured(scene, libraries=scene.captured.libraries | libraries))
        assert len(found.environment_changes) == 20
        assert "and 14 more" in found.reasons[0]

    def test_the_host_is_not_compared(self, scene: Any) -> None:
        assert only(scene, captured(scene, host={"kernel": "7.0.0"})).verdict is Verdict.IDENTICAL


class TestCode:
    def test_other_code_alone_is_no_reason(self, scene: Any) -> None:
        assert only(scene, scene.but(code=Code("beef", True, OTHER))).verdict is Verdict.IDENTICAL

    def test_other_code_is_named_as_a_possible_cause_of_other_bits(self, scene: Any) -> None:
        found = only(scene, scene.but(code=Code("beef", True, OTHER), noise={"model": "x"}))
        assert found.verdict is Verdict.DIVERGENT
        assert found.reasons[0] == "model changed"
        assert found.reasons[1].startswith("code differs, which may be the cause: commit c0ffee → beef")


def test_different_cells_are_not_compared(scene: Any) -> None:
    one, other = scene.cells()[:2]
    with pytest.raises(ValueError, match="different cells"):
        compare_cells(one, other)


class TestRuns:
    def test_two_equal_runs_answer_0(self, recorded: Callable[..., Path], scene: Any) -> None:
        found = compare_runs(recorded("a", scene), recorded("b", scene))
        assert (found.exit_code, found.verdicts["identical"], found.notes) == (0, 4, ())
        assert (found.before.run_name, found.after.run_name) == ("a", "b")

    def test_a_divergent_cell_answers_1_even_beside_incomparable_ones(
        self, recorded: Callable[..., Path], scene: Any
    ) -> None:
        changed = scene.but(hyperparameters={"xgboost": "x"}, noise={"predictions": "x"})
        found = compare_runs(recorded("a", scene), recorded("b", changed))
        assert (found.verdicts["divergent"], found.verdicts["incomparable"]) == (2, 2)
        assert found.exit_code == 1

    def test_incomparable_answers_3(self, recorded: Callable[..., Path], scene: Any) -> None:
        assert compare_runs(recorded("a", scene), recorded("b", scene.but(seed=1))).exit_code == 3

    def test_a_cell_of_one_run_alone_is_unverified_and_answers_3(
        self, recorded: Callable[..., Path], scene: Any
    ) -> None:
        found = compare_runs(recorded("a", scene.but(alone=())), recorded("b", scene))
        assert found.verdicts == {"identical": 2, "divergent": 0, "incomparable": 0, "unverified": 2}
        assert found.exit_code == 3
        lonely = next(cell for cell in found.cells if cell.verdict is Verdict.UNVERIFIED)
        assert lonely.reasons == ("only in b",)
        assert (lonely.before, lonely.after is not None) == (None, True)

    def test_a_cell_that_is_gone_keeps_its_fingerprint(self, recorded: Callable[..., Path], scene: Any) -> None:
        found = compare_runs(recorded("a", scene), recorded("b", scene.but(families=("xgboost",))))
        gone = [cell for cell in found.cells if cell.family == "lightgbm"]
        assert [cell.reasons for cell in gone] == [("only in a",)] * 2
        assert all(cell.before and cell.after is None for cell in gone)

    def test_another_universe_is_a_reason_not_a_gap(self, recorded: Callable[..., Path], scene: Any) -> None:
        found = compare_runs(recorded("a", scene), recorded("b", scene.but(symbols=("AAPL", "IBM"))))
        panel = [cell for cell in found.cells if cell.symbol is None]
        assert [cell.changed_keys for cell in panel] == [("universe_signature",)] * 2

    def test_a_run_compared_with_itself_says_so(self, recorded: Callable[..., Path], scene: Any) -> None:
        run = recorded("a", scene)
        found = compare_runs(run, run)
        assert found.exit_code == 0
        assert "the same run" in found.notes[0]

    def test_a_snapshot_with_one_changed_byte_is_an_integrity_failure(
        self, recorded: Callable[..., Path], scene: Any
    ) -> None:
        one, other = recorded("a", scene), recorded("b", scene)
        snapshot = next(other.rglob("snapshot.json"))
        data = bytearray(snapshot.read_bytes())
        for position in (0, len(data) // 2, len(data) - 1):
            altered = bytes(data[:position]) + bytes([data[position] ^ 1]) + bytes(data[position + 1 :])
            snapshot.write_bytes(altered)
            with pytest.raises(IntegrityError, match=r"snapshot\.json") as caught:
                compare_runs(one, other)
            assert caught.value.exit_code == ExitCode.INTEGRITY
        snapshot.write_bytes(data)
        assert compare_runs(one, other).exit_code == 0

    def test_a_folder_that_is_no_run_is_a_usage_error(
        self, recorded: Callable[..., Path], scene: Any, tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError, match="not a complete run"):
            compare_runs(recorded("a", scene), tmp_path)

    def test_the_comparison_is_a_document_that_reads_back(self, recorded: Callable[..., Path], scene: Any) -> None:
        found = compare_runs(recorded("a", scene), recorded("b", scene.but(noise={"model": "x"})))
        assert found.schema == "harness.comparison/1"
        assert msgspec.json.decode(pretty_json(found), type=RunComparison) == found

    def test_comparing_changes_no_file(self, recorded: Callable[..., Path], scene: Any, results: Path) -> None:
        one, other = recorded("a", scene), recorded("b", scene)
        before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
        compare_runs(one, other)
        assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before


class TestJudging:
    def test_a_first_run_is_unverified_and_answers_0(self, results: Path, scene: Any) -> None:
        verdicts, code = judge_all(scene.cells(), Archive(results))
        assert {verdict.verdict for verdict in verdicts} == {Verdict.UNVERIFIED}
        assert {verdict.reasons for verdict in verdicts} == {("first run of this group",)}
        assert code == ExitCode.OK

    def test_a_repeat_is_judged_against_the_latest_run_of_its_group(
        self, recorded: Callable[..., Path], results: Path, scene: Any
    ) -> None:
        recorded("a", scene)
        recorded("b", scene)
        recorded("c", scene.but(seed=7))
        verdicts, code = judge_all(scene.cells("id-new"), Archive(results))
        assert {(verdict.verdict, verdict.against) for verdict in verdicts} == {(Verdict.IDENTICAL, "id-b")}
        assert code == ExitCode.OK

    def test_the_first_run_of_a_group_says_what_differs_from_the_cells_last_run(
        self, recorded: Callable[..., Path], results: Path, scene: Any
    ) -> None:
        recorded("a", scene)
        comparison, against = judge(scene.but(seed=43).cells("id-new")[0], Archive(results))
        assert (comparison.verdict, against) == (Verdict.UNVERIFIED, None)
        assert comparison.reasons == ("first run of this group", "not comparable with a: train_seed 42 → 43")

    def test_other_bits_answer_1(self, recorded: Callable[..., Path], results: Path, scene: Any) -> None:
        recorded("a", scene)
        verdicts, code = judge_all(scene.but(noise={"model": os.urandom(4).hex()}).cells("new"), Archive(results))
        assert {verdict.verdict for verdict in verdicts} == {Verdict.DIVERGENT}
        assert code == ExitCode.DIVERGENT


def test_nothing_compared_is_not_identical() -> None:
    assert comparison_exit_code([]) == ExitCode.INCOMPARABLE


@pytest.mark.parametrize(
    ("verdicts", "compared", "run"),
    [
        (["identical"], 0, 0),
        (["identical", "unverified"], 3, 0),
        (["unverified"], 3, 0),
        (["incomparable", "identical"], 3, 3),
        (["incomparable", "divergent", "unverified"], 1, 1),
    ],
)
def test_exit_codes_follow_the_worst_verdict(verdicts: list[str], compared: int, run: int) -> None:
    found = [Verdict(name) for name in verdicts]
    assert (comparison_exit_code(found), run_exit_code(found)) == (compared, run)
