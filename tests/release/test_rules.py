import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.release.numbers import scope_of
from harness.release.report import Kind, Layer, Severity
from harness.release.rules import Moves, Rule, Rules, default_rules, load_rules

INSTALLED = frozenset({"python", "numpy", "xgboost", "torch"})
MINE = "rules:\n  - {layer: kernel, path: release, severity: minor, moves: none, why: machines are pinned}\n"
LOCKS = sorted((Path(__file__).parents[2] / "lockfiles").glob("*/python.txt"))


@pytest.fixture(scope="module")
def defaults() -> Rules:
    return Rules(default_rules())


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def call(text: str, name: str = "rules.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return call


@pytest.mark.parametrize(
    ("layer", "path", "kind", "severity", "moves"),
    [
        (Layer.WHEEL, "numpy", Kind.REBUILT, Severity.CRITICAL, Moves.ALL),
        (Layer.WHEEL, "numpy", Kind.UPGRADED, Severity.MAJOR, Moves.ALL),
        (Layer.WHEEL, "xgboost-cpu", Kind.UPGRADED, Severity.MAJOR, Moves.OWN),
        (Layer.WHEEL, "somebody-elses", Kind.REBUILT, Severity.CRITICAL, Moves.OWN),
        (Layer.WHEEL, "jinja2", Kind.UPGRADED, Severity.MINOR, Moves.NONE),
        (Layer.WHEEL, "lightning", Kind.UPGRADED, Severity.MAJOR, Moves.NONE),
        (Layer.WHEEL, "lightning", Kind.REBUILT, Severity.CRITICAL, Moves.NONE),
        (Layer.WHEEL, "pytorch-lightning", Kind.DOWNGRADED, Severity.MAJOR, Moves.NONE),
        (Layer.WHEEL, "torchmetrics", Kind.REBUILT, Severity.CRITICAL, Moves.NONE),
        (Layer.WHEEL, "torchmetrics-of-another", Kind.REBUILT, Severity.CRITICAL, Moves.OWN),
        (Layer.WHEEL, "aiohttp", Kind.REBUILT, Severity.MINOR, Moves.NONE),
        (Layer.OS_PACKAGE, "libc6", Kind.UPGRADED, Severity.MAJOR, Moves.ALL),
        (Layer.OS_PACKAGE, "bash", Kind.UPGRADED, Severity.MINOR, Moves.NONE),
        (Layer.OS_PACKAGE, "bash", Kind.REBUILT, Severity.MAJOR, Moves.NONE),
        (Layer.KERNEL, "release", Kind.UPGRADED, Severity.NONE, Moves.NONE),
        (Layer.KERNEL, "engine.version", Kind.UPGRADED, Severity.NONE, Moves.NONE),
        (Layer.HARDWARE, "memory", Kind.CHANGED, Severity.NONE, Moves.NONE),
        (Layer.HARDWARE, "cpu.model_name", Kind.CHANGED, Severity.MINOR, Moves.NONE),
        (Layer.HARDWARE, "cpu.model", Kind.CHANGED, Severity.MAJOR, Moves.ALL),
        (Layer.VARIABLE, "OPENBLAS_NUM_THREADS", Kind.REMOVED, Severity.CRITICAL, Moves.ALL),
        (Layer.IMAGE, "manifest", Kind.CHANGED, Severity.CRITICAL, Moves.ALL),
        (Layer.SPEC, "users/harness/uid", Kind.CHANGED, Severity.MAJOR, Moves.NONE),
        (Layer.NATIVE, "numpy/openblas", Kind.UPGRADED, Severity.CRITICAL, ("numpy",)),
        (Layer.RUNTIME, "settings.strict_kernels", Kind.CHANGED, Severity.CRITICAL, ("torch",)),
        (Layer.PROBE, "numpy/exp64", Kind.CHANGED, Severity.CRITICAL, Moves.ALL),
        (Layer.GOLDEN, "a/b/c/all/ridge", Kind.CHANGED, Severity.CRITICAL, Moves.ALL),
        (Layer.CODE, "inside", Kind.CHANGED, Severity.NONE, Moves.ALL),
    ],
)
def test_the_defaults_judge(defaults, layer, path, kind, severity, moves):
    rule = defaults.judge(layer, path, kind)
    assert (rule.severity, rule.moves) == (severity, moves)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.parent.name)
def test_the_defaults_know_every_wheel_of_the_images(defaults, lock):
    wheels = re.findall(r"^([a-z0-9-]+)==", lock.read_text(), re.MULTILINE)
    assert "numpy" in wheels
    unknown = defaults.judge(Layer.WHEEL, "nobody-knows", Kind.UPGRADED)
    assert [name for name in wheels if defaults.judge(Layer.WHEEL, name, Kind.UPGRADED) == unknown] == []


@pytest.mark.parametrize("layer", Layer)
def test_the_defaults_know_every_layer_and_kind(defaults, layer):
    for kind in Kind:
        assert defaults.judge(layer, "something/nobody.thought-of", kind).why != "no rule knows it"


def test_every_default_decides_somewhere(defaults):
    for index, rule in enumerate(defaults.rules):
        path = rule.path.replace("*", "some")
        earlier = [other for other in defaults.rules[:index] for kind in rule.kinds or Kind
                   if other.matches(rule.layer, path, kind)]  # fmt: skip
        hidden = {kind for other in earlier for kind in other.kinds or Kind}
        assert set(rule.kinds or Kind) - hidden, f"{rule.layer} {rule.path} is hidden by rules before it"


def test_a_change_that_no_rule_knows_is_major_and_moves_all():
    rule = Rules(()).judge(Layer.KERNEL, "release", Kind.CHANGED)
    assert (rule.severity, rule.moves, rule.why) == (Severity.MAJOR, Moves.ALL, "no rule knows it")


def test_a_projects_own_rules_come_first(write, tmp_path, defaults):
    write(MINE)
    rules = load_rules(tmp_path)
    assert rules.judge(Layer.KERNEL, "release", Kind.UPGRADED).why == "machines are pinned"
    assert rules.rules[1:] == defaults.rules
    assert rules.digest != defaults.digest


def test_without_rules_of_its_own_a_project_has_the_defaults(tmp_path, defaults):
    assert load_rules(tmp_path).digest == defaults.digest


def test_a_given_file_takes_the_place_of_the_projects_own(write, tmp_path):
    write(MINE)
    other = write(MINE.replace("minor", "critical"), "other.yaml")
    assert load_rules(tmp_path, other).judge(Layer.KERNEL, "release", Kind.UPGRADED).severity is Severity.CRITICAL


def test_the_digest_is_of_what_rules_say_not_of_how_they_are_written(write, tmp_path):
    write(MINE)
    first = load_rules(tmp_path).digest
    rule = "why: machines are pinned\n  moves: none\n  severity: minor\n  path: release\n  layer: kernel\n"
    write(f"# a comment\nrules:\n- {rule}")
    assert load_rules(tmp_path).digest == first
    write(MINE.replace("minor", "major"))
    assert load_rules(tmp_path).digest != first


def test_a_missing_file_is_refused_where_it_was_asked_for(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.yaml"):
        load_rules(tmp_path, tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("path: release", "paths: release", r"rules\.yaml, line 2: rules\[0\]\.paths is not a known key"),
        ("layer: kernel", "layer: kernels", r"rules\[0\]\.layer is the text 'kernels'"),
        ("severity: minor", "severity: bad", r"rules\[0\]\.severity is the text 'bad'"),
        ("severity: minor, ", "", r"rules\[0\] has no severity"),
        ("moves: none", "moves: some", r"rules\[0\]\.moves is the text 'some'"),
        ("moves: none", "moves: []", r"rules\[0\]\.moves is a list"),
        ("moves: none", "moves: own", r"rules\[0\]\.moves is own, but only a wheel holds a library"),
        ("moves: none", "moves: [numpy, all]", r"rules\[0\]\.moves lists 'all'"),
        ("why: machines are pinned", "why: ' '", r"rules\[0\]\.why is empty"),
        ("path: release", "kinds: [gone]", r"rules\[0\]\.kinds\[0\] is the text 'gone'"),
    ],
)
def test_a_wrong_rule_is_refused_by_its_line_and_key(write, tmp_path, old, new, message):
    assert old in MINE
    write(MINE.replace(old, new))
    with pytest.raises(UsageError, match=message):
        load_rules(tmp_path)


def test_a_rule_that_stands_twice_is_refused(write, tmp_path):
    write(MINE + MINE.replace("rules:\n", "").replace("minor", "major"))
    with pytest.raises(UsageError, match=r"line 3: rules\[1\] is about the same changes as the rule in line 2"):
        load_rules(tmp_path)


def test_two_rules_that_differ_in_kinds_stand_beside_each_other(write, tmp_path):
    write(MINE.replace("path: release", "path: release, kinds: [removed]") + MINE.replace("rules:\n", ""))
    assert len(load_rules(tmp_path).rules) == len(default_rules()) + 2


@pytest.mark.parametrize(
    ("moves", "path", "scope"),
    [
        (Moves.ALL, "x", None),
        (Moves.NONE, "x", frozenset()),
        (Moves.OWN, "numpy", frozenset({"numpy"})),
        (Moves.OWN, "xgboost-cpu", frozenset({"xgboost"})),
        (Moves.OWN, "scikit-learn", frozenset({"sklearn"})),
        (Moves.OWN, "torchvision", frozenset({"torchvision"})),
        (Moves.OWN, "torch-geometric", frozenset({"torch-geometric"})),
        (Moves.OWN, "python-dateutil", frozenset({"python-dateutil"})),
        (("torch", "xgboost"), "x", frozenset({"torch", "xgboost", "x"})),
        (("torch", "lightgbm"), "x", frozenset({"torch", "x"})),
        (("scipy", "lightgbm"), "x", frozenset({"scipy", "lightgbm", "x"})),
        (("torch",), "scikit-learn", frozenset({"torch", "sklearn"})),
        (("torch",), "torch", frozenset({"torch"})),
    ],
)
def test_a_rule_says_which_libraries_a_change_can_move(moves, path, scope):
    rule = Rule(layer=Layer.WHEEL, severity=Severity.MINOR, moves=moves, why="-")
    assert scope_of(rule, path, INSTALLED) == scope


@pytest.mark.parametrize(
    ("moves", "scope"),
    [(("torch", "lightgbm"), frozenset({"torch"})), (("scipy", "lightgbm"), frozenset({"scipy", "lightgbm"}))],
)
def test_only_a_wheel_moves_numbers_of_its_own_besides_those_listed(moves, scope):
    rule = Rule(layer=Layer.DRIVER, severity=Severity.MINOR, moves=moves, why="-")
    assert scope_of(rule, "numpy", INSTALLED) == scope
