"""The house around the code: documents that say what is true, packages that are whole, directions that hold."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import taskledger
from taskledger import config
from taskledger.cli import COMMANDS

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def run(*args, **more):
    return subprocess.run(args, cwd=more.pop("cwd", ROOT), capture_output=True, text=True, check=False, **more)


def document(name):
    return (ROOT / name).read_text()


@pytest.mark.parametrize("name", list(config.options()))
def test_setting_is_documented(name):
    """Each setting has a section with its flags, its variable and its default."""
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", document("docs/settings.md"), re.MULTILINE | re.DOTALL)
    option = config.options()[name]

    assert section
    assert [flag for flags in option.flags for flag in flags.split("/") if f"`{flag}`" not in section[1]] == []
    assert f"`{config.variable(name)}`" in section[1]
    assert "Default: " in section[1]


def test_no_other_setting_is_documented():
    """What docs/settings.md has a section for is a setting, in the order of the code."""
    assert re.findall(r"^## (\w+)$", document("docs/settings.md"), re.MULTILINE) == list(config.options())


JUDGES = ("check recorder", "check completeness", "check beat")


@pytest.mark.parametrize("name", [*COMMANDS, "db upgrade", "db check", "db stats", *JUDGES])
def test_command_is_documented(name):
    """Each command is named where newcomers or operators look."""
    assert f"taskledger {name}" in document("README.md") + document("docs/operations.md")


def test_documented_commands_exist():
    """No document tells people to type a command that does not exist."""
    strange = []
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        code = "\n".join(re.findall(r"```.*?```|`[^`]+`", path.read_text(), re.DOTALL))
        typed = re.findall(r"(?:`|^)(?:celery -A \w+ )?taskledger ([a-z]+)", code, re.MULTILINE)
        strange += [(path.name, word) for word in typed if word not in COMMANDS]

    assert strange == []


def test_links_lead_somewhere():
    """Each relative link of a document names a file that is there."""
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    links = [(path, link) for path in documents for link in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())]

    assert [(path.name, link) for path, link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_readme_has_the_test_command():
    """The README says how to run the tests, and the Makefile has that and everything else it mentions."""
    targets = set(re.findall(r"^([a-z]+):", document("Makefile"), re.MULTILINE))

    assert "make test" in document("README.md")
    assert set(re.findall(r"\bmake ([a-z]+)\b", document("README.md"))) <= targets


def test_directions():
    """Rooms import only the rooms below them."""
    done = run(BIN / "lint-imports", "--no-cache")

    assert done.returncode == 0, done.stdout


def test_exceptions_have_reasons():
    """Every rule of the linter that is switched off has its reason beside it."""
    lines = document("pyproject.toml").partition("ignore = [")[2].partition("\n]")[0].splitlines()

    assert [line for line in lines if line.strip() and "#" not in line] == []


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A wheel and an sdist of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "hatchling", "build", "-d", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_wheel_has_what_it_needs(built):
    """The wheel brings templates, static files, migrations and type markers, and only our two packages."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    assert {name.partition("/")[0] for name in names} == {
        "taskledger", "taskledger_web", f"taskledger-{taskledger.__version__}.dist-info"
    }  # fmt: skip
    assert {"taskledger/py.typed", "taskledger_web/py.typed", "taskledger/migrations/env.py"} <= names
    assert files("web/taskledger_web") | files("migrations", "taskledger/migrations") | files("taskledger") <= names


def test_wheel_runs_without_the_checkout(built, tmp_path):
    """What the wheel brings is enough: from the root folder it makes a schema and knows its own templates."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environ = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "", "HOME": str(tmp_path)}
    where = "import taskledger, taskledger_web as w; print(taskledger.__file__, w.__file__)"

    found = run(sys.executable, "-c", where, cwd="/", env=environ)
    done = [
        run(
            sys.executable,
            "-m",
            "taskledger",
            "db",
            what,
            "-d",
            f"sqlite:///{tmp_path / 'ledger'}",
            cwd="/",
            env=environ,
        )
        for what in ("upgrade", "check")
    ]

    assert [Path(path).is_relative_to(tmp_path / "site") for path in found.stdout.split()] == [True, True]
    assert [each.returncode for each in done] == [0, 0], done


def files(folder, becomes=None):
    """What is in a folder of the checkout, by the names it has in the wheel."""
    base = ROOT / folder
    found = (path.relative_to(base) for path in base.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"{becomes or base.name}/{path.as_posix()}" for path in found}


def test_sdist_builds_and_is_whole(built):
    """The sdist carries the tests, the documents and what runs them."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    wanted = {"pyproject.toml", "Makefile", "scripts/install", "alembic.ini", "LICENSE", "docs/settings.md"}
    assert wanted | {"tests/conftest.py", "migrations/env.py", "web/taskledger_web/__init__.py"} <= names
    assert not any(name.startswith((".venv", ".git/")) for name in names)


def test_one_version():
    """The version is written once; the installed package and the CHANGELOG go by it."""
    assert version("taskledger") == taskledger.__version__
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert "## [Unreleased]" in document("CHANGELOG.md")


@pytest.mark.parametrize("group", ["console_scripts", "celery.commands"])
def test_entry_points_load(group):
    """The script and the plug-in of Celery's command line can be loaded."""
    (entry,) = [each for each in entry_points(group=group) if each.dist and each.dist.name == "taskledger"]

    assert callable(entry.load())


def test_alembic_command(tmp_path, monkeypatch):
    """`alembic` works in a checkout, on the database that the settings name: up, no difference, down."""
    monkeypatch.setenv("TASKLEDGER_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.sqlite3'}")

    done = [run(BIN / "alembic", *args) for args in (("upgrade", "head"), ("check",), ("downgrade", "base"))]

    assert [each.returncode for each in done] == [0, 0, 0], done


def test_alembic_in_another_folder(tmp_path, monkeypatch):
    """alembic.ini finds the migrations from wherever it is used."""
    monkeypatch.setenv("TASKLEDGER_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.sqlite3'}")

    done = run(BIN / "alembic", "-c", ROOT / "alembic.ini", "upgrade", "head", cwd=tmp_path)

    assert done.returncode == 0, done.stderr


def test_nothing_of_a_machine_in_the_project():
    """No file names a path of somebody's machine."""
    tracked = run("git", "ls-files").stdout.split() or [path.name for path in ROOT.glob("*.toml")]
    texts = {name: (ROOT / name).read_bytes() for name in tracked if (ROOT / name).is_file()}
    homes = re.compile(rb"/(?:root|home/[a-z]+)/|/Users/[a-z]+/")

    assert [name for name, text in texts.items() if homes.search(text) and name != "tests/test_house.py"] == []


def test_no_possessive_group():
    """No pattern has a possessive group: before Python 3.11.5 it goes on from where its last attempt failed."""
    possessive = re.compile(r"(?<!\\)\)(?:[?*+]|\{\d*,?\d*\})\+(?!\")")
    sources = [path for folder in ("taskledger", "web") for path in (ROOT / folder).rglob("*.py")]

    assert possessive.search(r"(?: a ){0,3}+")
    assert [path.name for path in sources if possessive.search(path.read_text())] == []


def test_every_test_says_what_holds(tmp_path):
    """A test without a docstring fails the run."""
    (tmp_path / "conftest.py").write_text(document("tests/conftest.py"))
    (tmp_path / "test_silent.py").write_text("def test_silent():\n    pass\n")

    done = run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", tmp_path, "-c", ROOT / "pyproject.toml",
               "--rootdir", tmp_path, env={"PYTHONPATH": str(ROOT / "tests"), "PATH": ""})  # fmt: skip

    assert done.returncode != 0
    assert "A test says in its docstring, in a sentence, what must hold: test_silent.py::test_silent" in (
        done.stdout + done.stderr
    )
