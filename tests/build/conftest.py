"""What the tests of build_addon.py share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def build_addon() -> ModuleType:
    import build_addon

    return build_addon


@pytest.fixture(scope="session")
def copy_checkout() -> Callable[[Path], Path]:
    """Copies what the build reads; modification times are those of the copy, not of the original."""

    def copy(target: Path) -> Path:
        target.mkdir(parents=True)
        ignore = shutil.ignore_patterns("__pycache__", ".*", "build", "*.egg-info")
        for folder in ("backend", "blender_plenovdb"):
            shutil.copytree(ROOT / folder, target / folder, ignore=ignore, copy_function=shutil.copyfile)
        (target / "tests").mkdir()
        for file in ("build_addon.py", "pyproject.toml", "tests/checks.py"):
            shutil.copyfile(ROOT / file, target / file)
        return target

    return copy
