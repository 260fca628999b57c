import pytest

from harness.record.environment import PROBED
from harness.release.wheels import library_of, may_hold, wheels_of


@pytest.mark.parametrize(
    ("wheel", "library"),
    [
        ("numpy", "numpy"),
        ("scikit-learn", "sklearn"),
        ("xgboost-cpu", "xgboost"),
        ("torch-geometric", "torch-geometric"),
        ("python", "python"),
        ("scikit-learn-intelex", "scikit-learn-intelex"),
        ("pyyaml", "pyyaml"),
    ],
)
def test_a_wheel_holds_the_probes_library_only_where_it_is_known_to(wheel, library):
    assert library_of(wheel) == library


@pytest.mark.parametrize(
    ("wheel", "pattern", "may"),
    [
        ("torch", "torch/test/*", True),
        ("scipy", "torch/test/*", False),
        ("scipy", "*/tests/*", True),
        ("scikit-learn", "sklearn/datasets/*", True),
        ("scikit-learn", "scikit_learn.libs/x", True),
        ("scikit-learn", "scikit_learn-1.9.1.dist-info/x", True),
        ("pyyaml", "yaml/x.py", True),
        ("pyyaml", "numpy/x.py", False),
        ("typing-extensions", "typing_extensions.py", True),
        ("torch-geometric", "torch/x", False),
        ("numpy", "../../../bin/f2py", True),
    ],
)
def test_files_left_out_are_of_the_wheels_that_bring_them(wheel, pattern, may):
    assert may_hold(wheel, pattern) is may


@pytest.mark.parametrize(
    ("folder", "wheel"),
    [
        ("sklearn", "scikit-learn"),
        ("xgboost", "xgboost-cpu"),
        ("xgboost_cpu", "xgboost-cpu"),
        ("Pillow", "pillow"),
        ("torch", "torch"),
    ],
)
def test_a_folder_is_of_the_wheel_that_is_known_to_bring_it_or_is_named_as_it_is(folder, wheel):
    assert wheel in wheels_of(folder)
    assert not wheels_of(folder) & {"numpy", "torch-geometric", "scikit-learn-intelex"}


def test_what_the_probe_knows_is_in_a_wheel_of_its_name_or_of_a_known_one():
    brought = {library_of(wheel) for wheel in (*PROBED, "scikit-learn", "xgboost-cpu")}
    assert brought - {"sklearn"} == set(PROBED) - {"sklearn"}
