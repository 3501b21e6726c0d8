"""The extension's zip and the backend's wheel: always the same bytes, and accepted by those who read them."""

from __future__ import annotations

import base64
import csv
import email
import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

Copy = Callable[[Path], Path]


def run(*command: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PYTHONUTF8": "1", **variables},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )


def build(checkout: Path, python: Path | str = sys.executable) -> Path:
    """Build as a person does, and return the zip that was named on stdout."""
    answer = run(python, checkout / "build_addon.py", cwd=checkout.parent)
    assert answer.returncode == 0, answer.stderr
    return Path(answer.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def archive(copy_checkout: Copy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip, built from a copy in a folder whose name has spaces and letters beyond ASCII."""
    return build(copy_checkout(tmp_path_factory.mktemp("Übung mit Ωmega") / "check out"))


@pytest.fixture(scope="module")
def wheel(archive: Path) -> Path:
    (path,) = archive.parent.glob("*.whl")
    return path


def test_same_input_gives_the_same_bytes(copy_checkout: Copy, archive: Path, tmp_path: Path) -> None:
    copy = copy_checkout(tmp_path / "elsewhere")
    for path in copy.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (copy / "blender_plenovdb" / "__pycache__").mkdir()
    (copy / "blender_plenovdb" / "__pycache__" / "left_over.pyc").write_bytes(b"old")
    (copy / "blender_plenovdb" / ".DS_Store").write_bytes(b"macOS leaves these")
    assert build(copy).read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_python_gives_the_same_bytes(
    copy_checkout: Copy, version: str, archive: Path, tmp_path: Path, build_addon: ModuleType
) -> None:
    python = build_addon.find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} was found on this machine")
    assert build(copy_checkout(tmp_path / "elsewhere"), python).read_bytes() == archive.read_bytes()


def test_a_changed_file_gives_other_bytes(copy_checkout: Copy, archive: Path, tmp_path: Path) -> None:
    copy = copy_checkout(tmp_path / "elsewhere")
    with (copy / "blender_plenovdb" / "__init__.py").open("a") as file:
        file.write("# changed\n")
    assert build(copy).read_bytes() != archive.read_bytes()


def test_the_zip_holds_the_extension_the_scene_and_the_wheel(archive: Path, wheel: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        names = file.namelist()
        assert file.testzip() is None
        assert file.read(f"backend_wheel/{wheel.name}") == wheel.read_bytes()
    assert {"blender_manifest.toml", "__init__.py", "api.py", "demo_scene/transforms_train.json"} <= set(names)
    assert "demo_scene/LICENSE.txt" in names
    assert names == sorted(names)
    assert not [name for name in names if "__pycache__" in name or "/." in name or name.startswith(".")]


def test_nothing_is_left_beside_the_zip(archive: Path, wheel: Path) -> None:
    assert {path.name for path in archive.parent.iterdir()} == {archive.name, wheel.name}


def test_blenders_validator_accepts_it(archive: Path) -> None:
    specification = importlib.util.find_spec("bpy")
    if specification is None or specification.origin is None:
        pytest.skip("bpy is not installed in this environment")
    (validator,) = Path(specification.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py")
    answer = run(sys.executable, "-I", validator, "validate", archive, cwd=archive.parent)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_record_names_every_file_with_its_hash(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        (record,) = [name for name in file.namelist() if name.endswith(".dist-info/RECORD")]
        rows = {row[0]: row[1:] for row in csv.reader(file.read(record).decode().splitlines())}
        assert set(rows) == set(file.namelist())
        for name, (digest, size) in rows.items():
            if name == record:
                assert (digest, size) == ("", "")
                continue
            content = file.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={expected}", len(content))


def test_pip_installs_the_wheel_with_its_command(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-index", "--no-deps"]
    answer = run(*pip, "--target", tmp_path / "site", wheel, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert list((tmp_path / "site" / "bin").glob("plenoxels*"))
    code = (
        "from importlib.metadata import distribution as d; p = d('plenoxels');"
        "print(p.version, *[e.value for e in p.entry_points]); import plenoxels; print(plenoxels.__file__)"
    )
    answer = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert answer.returncode == 0, answer.stderr
    version, location = answer.stdout.splitlines()
    assert version == "0.1.0 plenoxels.__main__:main"
    assert Path(location).is_relative_to(tmp_path)


@pytest.mark.slow
def test_setuptools_builds_the_same_package(copy_checkout: Copy, wheel: Path, tmp_path: Path) -> None:
    """`pip install ./backend` and the wheel in the extension must not drift apart."""
    pytest.importorskip("setuptools", minversion="77", reason="setuptools 77 or newer is not in this environment")
    copy = copy_checkout(tmp_path / "copy")
    pip = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-index", "--no-deps"]
    answer = run(*pip, "--no-build-isolation", "--wheel-dir", tmp_path, copy / "backend", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    (other,) = tmp_path.glob("*.whl")

    def described(path: Path) -> tuple[dict[str, bytes], set[str]]:
        with zipfile.ZipFile(path) as file:
            files = {name: file.read(name) for name in file.namelist() if ".dist-info/" not in name}
            (metadata,) = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
            message = email.message_from_bytes(file.read(metadata))
        keys = ("Name", "Version", "Requires-Python", "Provides-Extra")
        said = {str(Requirement(requirement)) for requirement in message.get_all("Requires-Dist", [])}
        return files, said | {f"{key}: {value}" for key in keys for value in message.get_all(key, [])}

    assert described(wheel) == described(other)


def test_an_incomplete_checkout_is_named(copy_checkout: Copy, tmp_path: Path) -> None:
    copy = copy_checkout(tmp_path / "copy")
    (copy / "blender_plenovdb" / "blender_manifest.toml").unlink()
    answer = run(sys.executable, copy / "build_addon.py", cwd=tmp_path)
    assert answer.returncode == 1
    assert "blender_manifest.toml is missing" in answer.stderr
    assert "Traceback" not in answer.stderr
