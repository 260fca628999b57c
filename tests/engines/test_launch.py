import pytest

from harness.engines.launch import launch_command, process_environment, working_directory
from harness.errors import UsageError
from harness.spec.digest import digest_from_hex
from harness.spec.run import Mount, Resources, RunSpec

LOCATIONS = {"code": "/c", "data": "/d", "output": "/o", "bytecode": "/b", "plugins": "/p"}


def spec(**fields: object) -> RunSpec:
    mounts = fields.pop("mounts", ("code",))
    return RunSpec(
        **{
            "run_id": "r",
            "image": None,
            "argv": ("python3", "train.py"),
            "environment": {"A": "1"},
            "mounts": tuple(Mount(name, f"/src/{name}", digest_from_hex("0" * 64)) for name in mounts),
            "output": "/out",
            "resources": Resources(cpus=(0,)),
            **fields,
        }
    )


def environment(**fields: object) -> dict[str, str]:
    return process_environment(spec(**fields), locations=LOCATIONS, path="/bin", home="/home")


def test_the_launcher_stands_before_every_command_and_is_started_by_no_other_python_on_the_path() -> None:
    launcher = ("/usr/bin/python3", "-P", "-m", "harness.strict.launch", "--")
    assert launch_command(spec()) == (*launcher, "python3", "train.py")


def test_fixed_addresses_are_asked_of_the_launcher() -> None:
    assert launch_command(spec(randomize_addresses=False))[4:6] == ("--fixed-addresses", "--")


def test_a_run_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="no program"):
        launch_command(spec(argv=()))


def test_the_environment_is_the_specs_and_the_engines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert environment(mounts=("code", "data")) == {
        "A": "1",
        "HARNESS_CHECKPOINTS": "/o/checkpoints",
        "HARNESS_CODE": "/c",
        "HARNESS_DATA": "/d",
        "HARNESS_OUTPUT": "/o",
        "HOME": "/home",
        "LOGNAME": "harness",
        "PATH": "/bin",
        "PYTHONPATH": "/c:/c/harness/strict/site",
        "USER": "harness",
    }


def test_bytecode_and_plugins_are_found_where_they_are_mounted() -> None:
    found = environment(mounts=("code", "bytecode", "plugins"))
    assert found["PYTHONPYCACHEPREFIX"] == "/b"
    assert found["PYTHONPATH"].endswith(":/p")
    assert "PYTHONPYCACHEPREFIX" not in environment()


@pytest.mark.parametrize("name", ["PATH", "HOME", "PYTHONPATH", "HARNESS_CODE", "HARNESS_OUTPUT", "USER"])
def test_a_variable_of_the_engines_own_cannot_be_set(name: str) -> None:
    with pytest.raises(UsageError, match=f"Variable {name} is set by the engine"):
        environment(environment={name: "x"})


@pytest.mark.parametrize(("name", "value"), [("", "x"), ("A=B", "x"), ("A", "x\0y"), ("A\0", "x")])
def test_a_variable_that_no_process_can_have_is_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError, match="cannot be set"):
        environment(environment={name: value})


@pytest.mark.parametrize(
    "mounts", [("code", "code"), ("code", "output"), ("code", "../x"), ("code", "Data"), ("code", "")]
)
def test_mounts_have_names_of_their_own(mounts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="not a name of its own"):
        environment(mounts=mounts)


def test_a_run_without_the_launchers_code_is_refused() -> None:
    with pytest.raises(UsageError, match="no mount called 'code'"):
        environment(mounts=("data",))


def test_the_working_folder_is_the_output_folder_unless_said_otherwise() -> None:
    assert str(working_directory(spec())) == "."
    assert str(working_directory(spec(working_directory="a/b"))) == "a/b"


@pytest.mark.parametrize("folder", ["/etc", "..", "a/../../b"])
def test_a_working_folder_outside_the_output_folder_is_refused(folder: str) -> None:
    with pytest.raises(UsageError, match="not under its output folder"):
        working_directory(spec(working_directory=folder))
