"""Blender for the tests: pip's bpy with the extension of this checkout enabled as an installed one would be.

`BLENDER_USER_RESOURCES` is set before bpy is imported, so that nothing of the user's own Blender is read or written.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

EXTENSION = Path(__file__).parents[2] / "blender_plenovdb"
for helpers in (Path(__file__).parent, Path(__file__).parents[1] / "extension"):
    if str(helpers) not in sys.path:
        sys.path.insert(0, str(helpers))

from installed import PACKAGE  # noqa: E402

_RESOURCES = Path(tempfile.mkdtemp(prefix="plenovdb blender é-"))
os.environ["BLENDER_USER_RESOURCES"] = str(_RESOURCES)

try:
    import bpy
except ImportError:
    bpy = None
    collect_ignore_glob = ["test_*.py"]
else:
    bpy.utils.expose_bundled_modules()


def pytest_report_header() -> str:
    return "bpy: not installed, tests/blender is skipped" if bpy is None else f"bpy: {bpy.app.version_string}"


def pytest_unconfigure() -> None:
    shutil.rmtree(_RESOURCES, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def extension() -> Iterator[Any]:
    """The enabled extension's package, as Blender imports it."""
    import addon_utils

    place = _RESOURCES / "extensions" / "user_default" / "blender_plenovdb"
    shutil.copytree(EXTENSION, place, ignore=shutil.ignore_patterns("__pycache__", "backend_wheel"))
    module = addon_utils.enable(PACKAGE, default_set=True)
    assert module is not None, "the extension could not be enabled"
    yield module
    addon_utils.disable(PACKAGE, default_set=True)


@pytest.fixture(autouse=True)
def no_interpreter_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLENOVDB_PYTHON", raising=False)


@pytest.fixture
def api(extension: Any) -> Any:
    """The extension's Python API."""
    import importlib

    return importlib.import_module(f"{PACKAGE}.api")


@pytest.fixture
def part(extension: Any) -> Callable[[str], Any]:
    """A module of the enabled extension by its dotted name below the package."""
    import importlib

    return lambda name: importlib.import_module(f"{PACKAGE}.{name}")


@pytest.fixture
def scene(extension: Any) -> Iterator[Any]:
    """An empty scene in a new file; the extension stays enabled."""
    import importlib

    importlib.import_module(f"{PACKAGE}.jobs.session").forget()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=False)
    yield bpy.context.scene
    importlib.import_module(f"{PACKAGE}.jobs.session").forget()
