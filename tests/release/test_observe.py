"""What is known of an environment without running it, and with."""

from harness.release.state import EnvironmentState, Sources
from harness.spec.variables import image_variables


def test_sources_hold_the_spec_both_locks_and_the_image_lock_whole(cpu_sources: Sources) -> None:
    assert cpu_sources.image is not None
    assert cpu_sources.digests == cpu_sources.image.inputs
    assert cpu_sources.variables == image_variables("cpu")
    assert "numpy" in {wheel.name for wheel in cpu_sources.python.wheels}


def test_a_golden_run_was_made_in_the_environment_that_it_names(state, golden) -> None:
    one: EnvironmentState = state()
    assert golden(one).cells[0].group == golden().cells[0].group
    assert one.survey is not None
