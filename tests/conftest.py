"""What all tests share."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

# Read here, before tests/blender hides it from the extension under test.
_NAMED = os.environ.get("PLENOVDB_PYTHON")


@pytest.fixture(scope="session")
def backend_python() -> str:
    """The interpreter that has the backend: build_addon.py names it, or it is this one."""
    if _NAMED:
        return _NAMED
    if importlib.util.find_spec("plenoxels") is None:
        pytest.skip("the backend is not in this environment and PLENOVDB_PYTHON names no other")
    return sys.executable
