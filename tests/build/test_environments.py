"""Which Python is taken, when something is installed, and what is said when that is impossible."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

SETTINGS = """
[dependency-groups]
backend = ["torch==2.13.0"]
"bpy-5.0" = ["bpy==5.0.1"]
"bpy-5.2" = ["bpy==5.2.3"]
tests = ["pytest==9.2.0"]

[tool.plenovdb.python-of-bpy]
"bpy-5.0" = "3.11"
"bpy-5.2" = "3.13"
"""


@pytest.fixture
def settings(build_addon: ModuleType, tmp_path: Path) -> Any:
    (tmp_path / "pyproject.toml").write_text(SETTINGS)
    return build_addon.Settings.read(tmp_path)


def pretend(monkeypatch: pytest.MonkeyPatch, build_addon: ModuleType, running: str, found: dict[str, str]) -> None:
    """Run as if under one Python, with others found on the machine."""
    major, minor = running.split(".")
    version = NamedTuple("version", [("major", int), ("minor", int)])(int(major), int(minor))
    monkeypatch.setattr(build_addon.sys, "version_info", version)
    monkeypatch.setattr(build_addon, "find_python", lambda wanted: Path(found[wanted]) if wanted in found else None)


@pytest.mark.parametrize(
    ("running", "found", "main", "others", "left_out"),
    [
        ("3.11", {"3.11": "a", "3.13": "b"}, "bpy-5.0", ["bpy-5.2"], []),
        ("3.13", {"3.11": "a", "3.13": "b"}, "bpy-5.2", ["bpy-5.0"], []),
        ("3.12", {"3.11": "a", "3.13": "b"}, "bpy-5.0", ["bpy-5.2"], []),
        ("3.12", {"3.13": "b"}, "bpy-5.2", [], ["bpy-5.0"]),
        ("3.14", {"3.11": "a"}, "bpy-5.0", [], ["bpy-5.2"]),
    ],
)
def test_the_main_environment_takes_this_python_or_one_that_fits(
    build_addon: ModuleType,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    running: str,
    found: dict[str, str],
    main: str,
    others: list[str],
    left_out: list[str],
) -> None:
    pretend(monkeypatch, build_addon, running, found)
    chosen, rest, missing = build_addon.choose_environments(tmp_path, settings, ("tests",))
    assert chosen.blender == main
    assert chosen.folder == tmp_path / ".venv"
    assert chosen.groups == ("backend", main, "tests")
    assert [(other.blender, other.folder.name, other.groups) for other in rest] == [
        (name, f".venv-{name}", (name, "tests")) for name in others
    ]
    assert list(missing) == left_out


def test_without_a_fitting_python_the_sentence_says_which_to_get(
    build_addon: ModuleType, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(monkeypatch, build_addon, "3.12", {})
    with pytest.raises(build_addon.Problem, match=r"Python 3\.11 or 3\.13; this is 3\.12 .* Install Python"):
        build_addon.choose_environments(tmp_path, settings, ())


def test_this_python_is_found_and_can_make_environments(build_addon: ModuleType) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = build_addon.find_python(version)
    assert python is not None
    answer = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith(f"Python {version}.")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows needs a privilege for links")
def test_one_python_found_by_two_names_is_the_same(
    build_addon: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else an environment made under one name would be thrown away under the other."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    real = build_addon.find_python(version)
    link = tmp_path / "python"
    link.symlink_to(real)
    monkeypatch.setattr(build_addon, "candidate_pythons", lambda _: iter([[str(link)]]))
    assert build_addon.find_python(version) == real


def test_a_python_that_does_not_start_is_passed_over(
    build_addon: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shim = tmp_path / "python3.77"
    shim.write_text("#!/bin/sh\necho 'python3.77: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setattr(build_addon, "candidate_pythons", lambda _: iter([[str(shim)], [str(tmp_path / "absent")]]))
    assert build_addon.find_python("3.77") is None


def test_an_old_python_is_refused_in_one_sentence(root: Path) -> None:
    old = next((found for name in ("3.10", "3.9", "3.8") if (found := find_any_python(name))), None)
    if old is None:
        pytest.skip("no Python older than 3.11 was found on this machine")
    answer = subprocess.run([old, root / "build_addon.py"], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "needs Python 3.11 or newer" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def find_any_python(version: str) -> Path | None:
    """A Python of this version, however old."""
    name = shutil.which(f"python{version}")
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    for path in ([Path(name)] if name else []) + pyenv:
        if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    return None


class Pip:
    """Stands in for pip: keeps what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.fails = False

    def __call__(self, environment: Any, arguments: list[str], log: Path) -> None:
        self.calls.append(list(arguments))
        if self.fails:
            raise KeyboardInterrupt


@pytest.fixture
def pip(build_addon: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Pip:
    pip = Pip()
    monkeypatch.setattr(build_addon, "run_pip", pip)
    return pip


@pytest.fixture
def environment(build_addon: ModuleType, tmp_path: Path) -> Any:
    return build_addon.Environment(tmp_path / ".venv", Path(sys.executable), "bpy-5.0", ("backend", "bpy-5.0"))


def test_a_second_run_installs_nothing(
    build_addon: ModuleType, settings: Any, environment: Any, pip: Pip, tmp_path: Path
) -> None:
    build_addon.prepare(tmp_path, settings, environment)
    assert pip.calls == [["--only-binary", ":all:", "torch==2.13.0", "bpy==5.0.1"]]
    build_addon.prepare(tmp_path, settings, environment)
    assert len(pip.calls) == 1


def test_an_interrupted_installation_is_continued(
    build_addon: ModuleType, settings: Any, environment: Any, pip: Pip, tmp_path: Path
) -> None:
    pip.fails = True
    with pytest.raises(KeyboardInterrupt):
        build_addon.prepare(tmp_path, settings, environment)
    pip.fails = False
    build_addon.prepare(tmp_path, settings, environment)
    assert len(pip.calls) == 2


def test_changed_pins_are_installed_and_others_kept(
    build_addon: ModuleType, settings: Any, environment: Any, pip: Pip, tmp_path: Path
) -> None:
    build_addon.prepare(tmp_path, settings, environment)
    newer = build_addon.Settings({**settings.groups, "backend": ["torch==2.14.0"]}, settings.python_of_bpy)
    build_addon.prepare(tmp_path, newer, environment)
    assert len(pip.calls) == 2
    state = json.loads((environment.folder / build_addon.STAMP).read_text())
    assert state["requirements"] == ["bpy==5.0.1", "torch==2.14.0"]


def test_a_foreign_environment_is_left_alone(
    build_addon: ModuleType, settings: Any, environment: Any, pip: Pip, tmp_path: Path
) -> None:
    environment.folder.mkdir()
    (environment.folder / "mine.txt").write_text("keep")
    with pytest.raises(build_addon.Problem, match=r"was not made by build_addon\.py: move it away"):
        build_addon.prepare(tmp_path, settings, environment)
    assert (environment.folder / "mine.txt").read_text() == "keep"
    assert pip.calls == []


def test_too_little_room_is_said_before_anything_is_made(
    build_addon: ModuleType,
    settings: Any,
    environment: Any,
    pip: Pip,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    usage = NamedTuple("usage", [("total", int), ("used", int), ("free", int)])(10**12, 0, 10**9)
    monkeypatch.setattr(build_addon.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(build_addon, "NEEDED_GB", {"backend": 2.0, "blender": 1.0, "while unpacking": 0.2})
    with pytest.raises(build_addon.Problem, match=r"needs about 3\.2 GB and the disk has 1\.0 GB left: make room"):
        build_addon.prepare(tmp_path, settings, environment)
    assert not environment.folder.exists()
    assert pip.calls == []


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "disk became full .* make room"),
        (
            "Retrying after 'NewConnectionError(..)': /\nERROR: No matching distribution found for torch==2.13.0",
            "could not reach the package index: connect",
        ),
        ("ERROR: [Errno 13] Permission denied: '/somewhere'", "may not write to .* own that folder"),
        ("ERROR: No matching distribution found for bpy==5.0.1", r"No build of bpy==5\.0\.1 exists for this system"),
        ("Collecting torch\nERROR: something else\n\n", r"pip failed in .*: ERROR: something else"),
    ],
)
def test_what_pip_says_becomes_a_sentence_with_a_way_out(
    build_addon: ModuleType, environment: Any, tmp_path: Path, output: str, sentence: str
) -> None:
    problem = build_addon.explain_pip_failure(output, environment, tmp_path / "pip.log")
    assert isinstance(problem, build_addon.Problem)
    with pytest.raises(build_addon.Problem, match=sentence):
        raise problem
    assert "pip.log" in str(problem)


@pytest.mark.slow
def test_pip_without_a_network_ends_in_that_sentence(
    build_addon: ModuleType, environment: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The real pip, sent to an address where nobody listens."""
    subprocess.run([sys.executable, "-m", "venv", environment.folder], check=True, timeout=120)
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null" if sys.platform != "win32" else "nul")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(build_addon.Problem, match="could not reach the package index"):
        build_addon.run_pip(environment, ["torch==2.13.0"], tmp_path / "pip.log")
    assert "torch" in (tmp_path / "pip.log").read_text()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/there"), "/there may not be written"),
        (OSError(errno.EROFS, "Read-only file system", "/there"), "/there may not be written"),
        (OSError(errno.ENOSPC, "No space left on device", "/there"), "The disk is full at /there"),
    ],
)
def test_what_the_system_refuses_becomes_a_sentence(build_addon: ModuleType, error: OSError, sentence: str) -> None:
    assert sentence in str(build_addon.explain_os_error(error))


def test_an_output_that_cannot_be_made_ends_in_one_sentence(build_addon: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    command = [sys.executable, build_addon.__file__, "demo", "--output", tmp_path / "file" / "below"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert str(tmp_path / "file") in answer.stderr


def test_pins_are_exact_and_stand_in_one_place(build_addon: ModuleType, root: Path) -> None:
    settings = build_addon.Settings.read(root)
    for requirement in settings.requirements(settings.groups):
        assert "==" in requirement, requirement
    assert "torch==2.13.0" in settings.groups["backend"]
    assert set(settings.python_of_bpy) == {name for name in settings.groups if name.startswith("bpy-")}
