import pytest

from harness.errors import UsageError
from harness.locking.upgrade import (
    KEEP,
    Replacement,
    Upgrade,
    Upgrades,
    check_known,
    check_pins,
    parse_upgrades,
    replace_pins,
    uv_arguments,
)

LOCKED = {"numpy": "1.26.4", "scikit-learn": "1.5.2", "torch": "2.13.0+cpu", "joblib": "1.6.0"}
REQUIREMENTS = ("numpy==1.26.*", "scikit-learn", "torch==2.13.0+cpu")


def chosen(*items):
    return parse_upgrades(items)


def pins(upgrades, image="small"):
    check_pins(REQUIREMENTS, upgrades, LOCKED, where="docker/small.yaml", image=image)


def test_names_are_normalised_and_versions_kept():
    assert chosen("NumPy", "scikit_learn == 1.6.0", "torch==2.14.0+cpu").chosen == (
        Upgrade("numpy"),
        Upgrade("scikit-learn", "1.6.0"),
        Upgrade("torch", "2.14.0+cpu", "2.14.0+cpu"),
    )
    assert parse_upgrades(()) == KEEP
    assert parse_upgrades((), everything=True) == Upgrades(everything=True)


@pytest.mark.parametrize(
    "item",
    ["", " ", "numpy>=2", "numpy==2.*", "numpy==2.0,==2.1", "numpy===2.0", "numpy==", "numpy[extra]", "--index-url=x",
     "numpy @ file:///x.whl", "numpy; python_version<'4'", "../numpy", "numpy==2.0 numpy==2.1", "numpy\nscipy"],
)  # fmt: skip
def test_what_is_no_package_with_an_exact_version_is_refused(item):
    with pytest.raises(UsageError) as raised:
        chosen(item)
    assert "--upgrade numpy==2.4.5" in str(raised.value.hint)


def test_a_package_given_twice_is_refused_however_it_is_written():
    with pytest.raises(UsageError, match="scikit-learn is to be upgraded twice"):
        chosen("scikit-learn", "Scikit_Learn==1.6")


def test_everything_and_a_choice_exclude_each_other():
    with pytest.raises(UsageError, match="--upgrade-all"):
        parse_upgrades(["numpy"], everything=True)


def test_an_unknown_package_is_refused_with_those_that_are_called_alike():
    check_known(chosen("numpy"), LOCKED, "the lock")
    with pytest.raises(UsageError, match="the lock holds no package nunpy") as raised:
        check_known(chosen("numpy", "nunpy"), LOCKED, "the lock")
    assert "Did you mean numpy?" in str(raised.value.hint)
    with pytest.raises(UsageError) as raised:
        check_known(chosen("xyz"), LOCKED, "the lock")
    assert "There is: joblib, numpy" in str(raised.value.hint)
    with pytest.raises(UsageError) as raised:
        check_known(chosen("xyz"), (), "the lock")
    assert "without --upgrade first" in str(raised.value.hint)


@pytest.mark.parametrize(
    "item", ["numpy", "numpy==1.26.3", "scikit-learn==0.1", "torch==2.13.0", "joblib==1.5", "rich"]
)
def test_what_the_spec_allows_may_move_up_and_down(item):
    pins(chosen(item))


@pytest.mark.parametrize(
    ("item", "said", "advice"),
    [
        ("torch", "pins torch==2.13.0+cpu", "--upgrade torch==VERSION --dry-run"),
        ("torch==2.14.0", "leaves out torch==2.14.0+cpu", "--upgrade torch==2.14.0+cpu --dry-run"),
        ("numpy==2.4.6", "asks for numpy==1.26.*, which leaves out numpy==2.4.6", "harness lock small"),
    ],
)
def test_what_the_spec_pins_is_said_with_what_to_do(item, said, advice):
    with pytest.raises(UsageError) as raised:
        pins(chosen(item))
    assert raised.value.message.startswith("docker/small.yaml ")
    assert said in raised.value.message
    assert advice in str(raised.value.hint)
    with pytest.raises(UsageError) as raised:
        pins(chosen(item), image=None)
    assert "--dry-run" not in str(raised.value.hint)  # pyproject.toml has no trial


def test_a_trial_puts_the_version_asked_for_in_the_place_of_a_pin_that_leaves_it_out():
    changed, replaced = replace_pins(REQUIREMENTS, chosen("torch==2.14.0", "numpy==1.26.1"), LOCKED, image="small")
    assert changed == ("numpy==1.26.*", "scikit-learn", "torch==2.14.0+cpu")
    assert replaced == (Replacement("small", "torch==2.13.0+cpu", "torch==2.14.0+cpu"),)
    assert replace_pins(REQUIREMENTS, chosen("torch", "joblib==1"), LOCKED, image="small") == (REQUIREMENTS, ())


def test_extras_and_markers_of_a_pin_stay():
    changed, _ = replace_pins(["Demo[b,a]==1; python_version>'3'"], chosen("demo==2"), {"demo": "1"}, image="small")
    assert changed == ('demo[a,b]==2; python_version > "3"',)


def test_uv_is_told_of_what_is_locked_alone():
    assert uv_arguments(chosen("torch==2.14.0", "rich", "numpy"), LOCKED) == [
        "--upgrade-package", "torch==2.14.0+cpu", "--upgrade-package", "numpy"
    ]  # fmt: skip
    assert uv_arguments(KEEP, LOCKED) == []
