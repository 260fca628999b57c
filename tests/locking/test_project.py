"""What a user's project asks for, in each of the forms in which people write it."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.locking.project import Project, check_interpreter, check_python, read_project, read_settings

NOTHING = {"PIP_CONFIG_FILE": "/dev/null"}
PYPROJECT = """\
[build-system]
requires = ["setuptools"]
[project]
name = "My_Project"
requires-python = ">=3.10"
dependencies = ["numpy>=1.26", "pandas; sys_platform == 'linux'"]
[project.optional-dependencies]
train = ["lightgbm"]
all = ["my-project[train]", "rich"]
loop = ["my-project[loop]"]
[dependency-groups]
test = ["pytest", {include-group = "Type_Check"}]
type-check = ["mypy"]
circle = [{include-group = "circle"}]
odd = [{something = 1}]
"""


def read(folder: Path, **options: object) -> Project:
    return read_project(folder, environment=NOTHING, **options)  # type: ignore[arg-type]


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def requirements(folder: Path, text: str | bytes, **files: str) -> Project:
    named = {name.replace("_", "."): content for name, content in files.items()}
    return read(write(folder, {"requirements.txt": text, **named}))


def test_a_pyproject_gives_its_dependencies(tmp_path: Path) -> None:
    found = read(write(tmp_path, {"pyproject.toml": PYPROJECT}))
    assert found.requirements == ("numpy>=1.26", 'pandas; sys_platform == "linux"')
    assert (found.name, found.file, found.roots) == ("My_Project", "pyproject.toml", (".",))


def test_extras_and_groups_come_with_what_they_name(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": PYPROJECT})
    assert read(tmp_path, extras=["ALL"]).requirements[2:] == ("lightgbm", "rich")
    assert read(tmp_path, groups=["test"]).requirements[2:] == ("pytest", "mypy")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"extras": ["gpu"]}, "no extra 'gpu'"),
        ({"groups": ["docs"]}, "no group 'docs'"),
        ({"extras": ["loop"]}, "asks for itself"),
        ({"groups": ["circle"]}, "includes itself"),
        ({"groups": ["odd"]}, "neither a requirement nor a group"),
        ({"file": Path("other/pyproject.toml")}, "is not the project's"),
    ],
)
def test_what_a_pyproject_has_not_is_refused(options: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        read(write(tmp_path, {"pyproject.toml": PYPROJECT}), **options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[project]\nname = 'x'\ndynamic = ['dependencies']\n", "made up when it is built"),
        ("[tool.poetry.dependencies]\nnumpy = '*'\n", r"in \[tool.poetry\] alone"),
        ("[project]\nname = 'x'\ndependencies = 'numpy'\n", "dependencies is not a list"),
        ("[project]\nname = 'x'\ndependencies = ['num py']\n", "'num py' is not a requirement"),
        ("[project]\nname = 'x'\ndependencies = ['a @ https://u:secret@h.example/a.whl']\n", "a is to come from"),
        ("[project\n", "is not valid"),
        ('[project]\nname = "x\\npostinst: {a: b}"\ndependencies = ["a"]\n', "is no name of a project"),
        ("[project]\nname = 'two words'\ndependencies = ['a']\n", "'two words' is no name of a project"),
        (
            "[project]\nname = 'x'\ndependencies = ['a']\n[tool.uv.sources]\na = {git = 'https://h.example/a'}\n",
            r"takes a from elsewhere \(git\)",
        ),
        (
            "[project]\nname = 'x'\ndependencies = ['a']\n[[tool.uv.index]]\nurl = 'https://h.example/simple'\n",
            "a spec names no index",
        ),
    ],
)
def test_a_pyproject_that_cannot_be_taken_over_is_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        read(write(tmp_path, {"pyproject.toml": text}))
    assert "secret" not in str(raised.value)


DECLARED = "[project]\nname = 'x'\ndependencies = ['a']\n"
HOST = "https://user:secret@h.example/simple"


@pytest.mark.parametrize(
    ("text", "said", "variables"),
    [
        (f"[[tool.uv.index]]\nurl = '{HOST}'\n", "index: packages", {"UV_INDEX": HOST}),
        (f"[[tool.uv.index]]\nurl = '{HOST}'\n", "index: packages", {"PIP_EXTRA_INDEX_URL": HOST}),
        (f"[tool.uv]\nindex-url = '{HOST}'\n", "index-url: packages", {"UV_DEFAULT_INDEX": HOST}),
        (f"[tool.uv]\nextra-index-url = ['{HOST}']\n", "extra-index-url: packages", {"UV_INDEX": HOST}),
        (f"[tool.uv]\nfind-links = ['{HOST}']\n", "find-links: packages", {"UV_FIND_LINKS": HOST}),
        (f"[tool.uv.pip]\nindex-url = '{HOST}'\n", "pip, index-url: packages", {"UV_DEFAULT_INDEX": HOST}),
        (f"[tool.uv.pip]\nextra-index-url = ['{HOST}']\n", "pip, extra-index-url", {"UV_INDEX": HOST}),
        (f"[[tool.poetry.source]]\nname='p'\nurl = '{HOST}'\n", "tool.poetry.source", {"UV_DEFAULT_INDEX": HOST}),
        (f"[[tool.pdm.source]]\nname='p'\nurl = '{HOST}'\n", "tool.pdm.source", {"UV_DEFAULT_INDEX": HOST}),
        ("[tool.uv]\nprerelease = 'allow'\n", "prerelease decides", {"UV_PRERELEASE": "allow"}),
        ("[tool.uv.pip]\nresolution = 'lowest'\n", "resolution decides", {"UV_RESOLUTION": "lowest"}),
        ("[tool.uv]\nexclude-newer = '2025-01-01'\n", "exclude-newer", {"UV_EXCLUDE_NEWER": "2025-01-01"}),
        ("[tool.uv]\nindex-strategy = 'x'\n", "index-strategy decides", {"UV_INDEX_STRATEGY": "x"}),
        ("[tool.uv.pip]\ntorch-backend = 'cu128'\n", "torch-backend decides", {"UV_TORCH_BACKEND": "cu128"}),
    ],
)
def test_what_a_tool_is_told_is_refused_unless_uvs_variables_say_the_same(
    text: str, said: str, variables: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path, {"pyproject.toml": DECLARED + text})
    with pytest.raises(UsageError, match=said) as raised:
        read(tmp_path)
    assert "secret" not in f"{raised.value} {raised.value.hint}"
    name = next(iter(variables))
    assert name in str(raised.value.hint) or name.startswith("PIP_")
    assert read_project(tmp_path, environment={**NOTHING, **variables}).requirements == ("a",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.uv]\noverride-dependencies = ['six==1.15.0']\n", "override-dependencies cannot be taken over"),
        ("[tool.uv]\nexclude-dependencies = ['six']\n", "exclude-dependencies cannot"),
        ("[[tool.uv.dependency-metadata]]\nname = 'six'\n", "dependency-metadata cannot"),
        ("[tool.uv]\nexclude-newer-package = {six = '2025-01-01'}\n", "exclude-newer-package cannot"),
        ("[tool.uv]\nno-index = true\n", "no-index cannot"),
        ("[tool.uv]\nno-binary-package = ['six']\n", "no-binary-package cannot"),
        ("[tool.uv.pip]\nno-binary = [':all:']\n", "no-binary cannot"),
        ("[tool.uv.pip]\nno-deps = true\n", "no-deps cannot"),
        ("[tool.uv]\nindex-url = 5\n", r"tool\.uv\]: Expected `str"),
        ("[tool.uv]\nconstraint-dependencies = ['i dna']\n", "is not a requirement"),
        ("[tool.poetry.dependencies]\na = {version = '1.2', allow-prereleases = true}\n", "asks for a beside"),
        ("[tool.poetry.dependencies]\nb = '1.2'\n", "asks for b beside"),
        ("[tool.pdm.resolution.overrides]\nsix = '1.15.0'\n", "overrides cannot"),
        ("[tool.pdm.resolution]\nallow-prereleases = true\n", "allow-prereleases cannot"),
    ],
)
def test_what_no_variable_and_no_spec_can_say_is_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        read(write(tmp_path, {"pyproject.toml": DECLARED + text}))


@pytest.mark.parametrize(
    "text",
    [
        "[tool.uv]\ndev-dependencies = ['x']\nprerelease = 'if-necessary-or-explicit'\nno-index = false\n",
        "[tool.uv.pip]\nresolution = 'highest'\ntorch-backend = 'cpu'\n",
        "[tool.uv]\nsources = {a = {index = 'p'}}\n",
        "[tool.poetry]\nname = 'x'\n[tool.poetry.dependencies]\npython = '^3.11'\na = {source = 'p'}\n",
        "[[tool.poetry.source]]\nname = 'PyPI'\n[tool.pdm.resolution]\nrespect-source-order = true\n",
    ],
)
def test_what_takes_no_other_package_is_no_trouble(text: str, tmp_path: Path) -> None:
    assert read(write(tmp_path, {"pyproject.toml": DECLARED + text})).requirements == ("a",)


def test_uvs_constraints_are_taken_over(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": DECLARED + "[tool.uv]\nconstraint-dependencies = ['idna==3.4']\n"})
    write(tmp_path, {"uv.toml": "constraint-dependencies = ['six<2']\n"})
    assert [str(one) for one in read(tmp_path).constraints] == ["idna==3.4", "six<2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"index-url = '{HOST}'\n", r"uv\.toml, index-url"), (f"[pip]\nfind-links = ['{HOST}']\n", r"uv\.toml, pip"),
        ("override-dependencies = ['six==1.15.0']\n", r"uv\.toml: override"), ("[", r"uv\.toml is not valid"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.txt"])
def test_a_uv_toml_beside_it_counts_as_much(text: str, said: str, name: str, tmp_path: Path) -> None:
    write(tmp_path, {name: DECLARED if name == "pyproject.toml" else "a\n", "uv.toml": text})
    with pytest.raises(UsageError, match=said):
        read(tmp_path)
    (tmp_path / "uv.toml").unlink()
    assert read(tmp_path).requirements == ("a",)


def test_an_index_of_the_users_own_uv_toml_is_no_trouble(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": DECLARED, "uv.toml": f"[[index]]\nname = 'p'\nurl = '{HOST}'\n"})
    assert read_project(tmp_path, environment={**NOTHING, "UV_CONFIG_FILE": str(tmp_path / "uv.toml")})
    with pytest.raises(UsageError, match="names no index"):
        read(tmp_path)


def test_of_tools_settings_the_indexes_alone_count_for_a_file_that_was_named(tmp_path: Path) -> None:
    write(tmp_path, {"exported.txt": "six==1.15.0\n"})
    write(tmp_path, {"pyproject.toml": DECLARED + "[tool.uv]\noverride-dependencies = ['six==1.15.0']\n"})
    assert read(tmp_path, file=tmp_path / "exported.txt").requirements == ("six==1.15.0",)
    write(tmp_path, {"pyproject.toml": DECLARED + f"[tool.uv]\nextra-index-url = ['{HOST}']\n"})
    with pytest.raises(UsageError, match="names no index"):
        read(tmp_path, file=tmp_path / "exported.txt")


def test_setuptools_files_of_dependencies_are_followed(tmp_path: Path) -> None:
    text = (
        "[project]\nname='x'\ndynamic=['dependencies']\n[tool.setuptools.dynamic]\ndependencies={file=['deps.txt']}\n"
    )
    assert read(write(tmp_path, {"pyproject.toml": text, "deps.txt": "numpy\n"})).requirements == ("numpy",)


def test_a_pyproject_of_tools_alone_leaves_the_word_to_requirements(tmp_path: Path) -> None:
    found = read(write(tmp_path, {"pyproject.toml": "[tool.ruff]\n", "requirements.txt": "numpy"}))
    assert (found.file, found.requirements) == ("requirements.txt", ("numpy",))


def test_a_folder_without_either_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither a pyproject.toml .* nor a requirements.txt, only setup.py"):
        read(write(tmp_path, {"setup.py": ""}))


def test_requirements_are_read_as_pip_reads_them(tmp_path: Path) -> None:
    found = requirements(
        tmp_path,
        "# a comment\nnumpy >= 1.26  # why\n\nscipy \\\n  <2\n-r more.txt\n--requirement=more.txt\n-cbounds.txt\n"
        "torch[opt-einsum]; python_version > '3'\n",
        more_txt="pandas\n-c bounds.txt\n",
        bounds_txt="numpy<3\nunused==1\n",
    )
    assert found.requirements == ("numpy>=1.26", "scipy<2", "pandas", 'torch[opt-einsum]; python_version > "3"')
    assert [str(one) for one in found.constraints] == ["numpy<3", "unused==1"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_may_be_written_as_windows_writes_it(encoding: str, tmp_path: Path) -> None:
    assert requirements(tmp_path, "numpy\r\npandas\r\n".encode(encoding)).requirements == ("numpy", "pandas")


def test_hashes_are_kept_for_the_lock_to_be_held_against(tmp_path: Path) -> None:
    one, two = "a" * 64, "b" * 64
    found = requirements(tmp_path, f"Some.Name==1 --hash=sha256:{one} \\\n  --hash=sha256:{two}\n")
    assert found.hashes == {"some-name": {f"sha256:{one}", f"sha256:{two}"}}


def test_the_project_itself_is_not_asked_for_but_what_it_needs_is(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"pyproject.toml": PYPROJECT, "libs/own/pyproject.toml": "[project]\nname='own'\ndependencies=['attrs']"},
    )
    write(tmp_path, {"libs/old/setup.py": "", "reqs/dev.txt": "-e .[train]\n./libs/own\n-e libs/old\npytest\n"})
    found = read(tmp_path, file=tmp_path / "reqs" / "dev.txt")
    assert set(found.requirements) == {"pytest", "numpy>=1.26", 'pandas; sys_platform == "linux"', "lightgbm", "attrs"}
    assert any("no setup.py is run" in note for note in found.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-r requirements.txt", "names itself"),
        ("-r missing.txt", "missing.txt cannot be read: No such file"),
        ("-r https://h.example/r.txt", "is not a file here"),
        ("-e git+https://h.example/x#egg=x", "is an address"),
        ("https://user:secret@h.example/x-1.whl", "is an address"),
        ("x @ https://tok:secret@h.example/x.whl", "is an address"),
        ("x @ https://tok:secret@h.example/x", "is to come from"),
        ("num py @ https://tok:secret@h.example/x", "is not a requirement"),
        ("--unknown https://tok:secret@h.example/x", "is no option"),
        ("-r missing.txt https://tok:secret@h.example/x", "cannot be read"),
        ("x @ https://tok:secret@h.example/${VERSION}", "holds a variable"),
        ("./x-1-py3-none-any.whl", "is an address"),
        ("x @ file:///x-1.whl", "is an address"),
        ("-e ../other", "which is not in the project"),
        ("--index-url https://user:secret@h.example/simple", "names no index"),
        ("--extra-index-url=https://h.example/simple", "names no index"),
        ("-f wheels", "names no index"),
        ("--no-binary :all:", "--no-binary cannot be taken over"),
        ("--pre", "--pre cannot be taken over"),
        ("x --global-option=y", "cannot be taken over"),
        ("x==1 --hash=md5:abc", "no hash is a sha256"),
        ("--unknown", "is no option"),
        ("x==${VERSION}", "holds a variable"),
        ("num py", "is not a requirement"),
        (b"\xff\xfe\xfd", "is not text"),
    ],
)
def test_a_line_that_cannot_be_taken_over_is_refused_with_its_place(
    text: str | bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path.parent / "other").mkdir(exist_ok=True)
    with pytest.raises(UsageError, match=said) as raised:
        requirements(tmp_path, text)
    assert "secret" not in str(raised.value)
    assert "requirements.txt" in raised.value.message or "missing.txt" in raised.value.message


def test_an_index_that_uv_is_configured_with_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    write(
        tmp_path,
        {"requirements.txt": "-i https://u:p@h.example/simple/\n--extra-index-url https://x.example\n-f wheels\na"},
    )
    environment = {
        **NOTHING,
        "UV_DEFAULT_INDEX": "https://h.example/simple",
        "UV_INDEX": "other=https://x.example",
        "UV_FIND_LINKS": str(tmp_path / "wheels"),
    }
    assert read_project(tmp_path, environment=environment).requirements == ("a",)
    with pytest.raises(UsageError, match=r"x\.example"):
        read_project(tmp_path, environment={**environment, "UV_INDEX": ""})


def test_options_that_change_nothing_are_said_to_be_left_out(tmp_path: Path) -> None:
    found = requirements(tmp_path, "--prefer-binary\n--only-binary=:all:\nnumpy")
    assert len(found.notes) == 2
    assert found.requirements == ("numpy",)


def test_the_interpreter_is_the_one_of_the_release(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": PYPROJECT})
    check_python(read(tmp_path), "3.11")
    write(tmp_path, {"pyproject.toml": PYPROJECT.replace(">=3.10", ">=3.12")})
    with pytest.raises(UsageError, match=r"asks for Python >=3.12, and Debian's release here has 3.11"):
        check_python(read(tmp_path), "3.11")


@pytest.mark.parametrize(
    ("wanted", "version", "fits"),
    [
        (">=3.11.9", "3.11.2-6+deb12u8", False),
        (">=3.11.2", "3.11.2-6+deb12u8", True),
        (">=3.13", "3.13.0~rc1-1", False),
        (">=3.13.0rc1", "3.13.0~rc1-1", True),
        ("", "3.13.5-2", True),
    ],
)
def test_the_interpreter_is_that_of_the_locked_package(wanted: str, version: str, fits: bool, tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": PYPROJECT.replace(">=3.10", wanted)})
    with nullcontext() if fits else pytest.raises(UsageError, match=f"Python {wanted}, and Debian's python3"):
        check_interpreter(read(tmp_path), "python3", version)


def test_a_project_is_called_as_its_folder_where_it_has_no_name(tmp_path: Path) -> None:
    assert read(write(tmp_path, {"pyproject.toml": "[project]\ndependencies=['a']\n"})).name == tmp_path.name


def test_code_under_src_is_found_too(tmp_path: Path) -> None:
    write(tmp_path, {"pyproject.toml": PYPROJECT, "src/my_project/__init__.py": ""})
    assert read(tmp_path).roots == (".", "src")
    (tmp_path / "plain").mkdir()
    assert requirements(tmp_path / "plain", "numpy").roots == ()


def test_settings_stand_in_pyproject_or_in_a_file_of_their_own(tmp_path: Path) -> None:
    assert read_settings(tmp_path).apt == ()
    write(tmp_path, {"harness.yaml": "apt: [libgl1]\nwaive: {libgl1-mesa-dri: moves a file}\n"})
    assert read_settings(tmp_path).apt == ("libgl1",)
    write(tmp_path, {"pyproject.toml": PYPROJECT + "[tool.harness]\napt = ['libgomp1']\n"})
    with pytest.raises(UsageError, match="both say"):
        read_settings(tmp_path)
    (tmp_path / "harness.yaml").unlink()
    assert read_settings(tmp_path).apt == ("libgomp1",)


@pytest.mark.parametrize("text", ["apd = ['x']", "apt = 'x'", "apt = ['Not A Package']"])
def test_settings_that_are_misspelt_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\[tool.harness\]"):
        read_settings(write(tmp_path, {"pyproject.toml": PYPROJECT + f"[tool.harness]\n{text}\n"}))
