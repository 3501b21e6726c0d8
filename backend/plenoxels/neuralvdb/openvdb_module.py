"""Finding OpenVDB's Python module, which is not on PyPI: it comes with Blender."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from plenoxels.errors import OpenVDBMissing

FOLDER_VARIABLE = "PLENOVDB_OPENVDB"
_NEEDED = ("FloatGrid", "Vec3SGrid", "write", "read", "readAllGridMetadata", "createLinearTransform")


def load_openvdb() -> Any:
    """The `openvdb` module: the interpreter's own, pip's bpy's, or the one in the folder PLENOVDB_OPENVDB names.

    bpy itself is not imported (it is Blender, 200 MB), and the folder's other packages do not become importable.

    Raises:
        OpenVDBMissing: none of them can be loaded; the sentence says why and how to get one.
    """
    loaded = sys.modules.get("openvdb")
    if loaded is not None and _is_complete(loaded):
        return loaded
    reasons: list[str] = []
    try:
        if importlib.util.find_spec("openvdb") is not None:
            module = importlib.import_module("openvdb")
            if _is_complete(module):
                return module
            sys.modules.pop("openvdb", None)
            reasons.append("the interpreter's own 'openvdb' is another package of that name")
    except (ImportError, OSError, ValueError) as error:
        reasons.append(f"the interpreter's own cannot be loaded ({error})")
    for folder in _folders(reasons):
        try:
            return _load_from(folder)
        except (ImportError, OSError) as error:
            reasons.append(f"{folder}: {error}")
    found = f" ({'; '.join(reasons)})" if reasons else ""
    raise OpenVDBMissing(
        f"OpenVDB not available{found}.",
        "It comes with Blender: run 'pip install bpy' (4.5 or later, made for the same Python version), or set "
        f"{FOLDER_VARIABLE} to the site-packages folder of a Blender that uses Python "
        f"{sys.version_info.major}.{sys.version_info.minor}.",
    )


def _folders(reasons: list[str]) -> Iterator[Path]:
    """Folders to look into, best first; notes in `reasons` why one is left out."""
    for package in _bpy_folders():
        inside = [
            *sorted(package.glob("*/python/lib/python3*/site-packages")),  # Linux, macOS
            *sorted(package.glob("*/python/lib/site-packages")),  # Windows
            *sorted(package.glob("*/python/Lib/site-packages")),
        ]
        if not inside:
            reasons.append(f"{package} holds no site-packages")
        yield from inside
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        if Path(named).is_dir():
            yield Path(named)
        else:
            reasons.append(f"{FOLDER_VARIABLE} names {named}, which is no folder")


def _bpy_folders() -> list[Path]:
    """Where pip's bpy lies, found without running it."""
    try:
        spec = importlib.util.find_spec("bpy")
    except (ImportError, ValueError):
        return []
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return [Path(location) for location in locations]


def _load_from(folder: Path) -> ModuleType:
    """Loads `openvdb` from one folder. Raises ImportError or OSError."""
    spec = importlib.machinery.PathFinder.find_spec("openvdb", [str(folder)])
    if spec is None or spec.loader is None:
        others = sorted(file.name for file in folder.glob("openvdb*"))
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        if others:
            raise ImportError(f"{others[0]} is not made for this Python {version}")
        raise ImportError("there is no 'openvdb' in it")
    _add_windows_libraries(folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules["openvdb"] = module
    try:
        spec.loader.exec_module(module)
        if not _is_complete(module):
            raise ImportError("its 'openvdb' is another package of that name")
    except BaseException:
        sys.modules.pop("openvdb", None)
        raise
    return module


def _add_windows_libraries(folder: Path) -> None:
    """Lets Windows find the DLLs that the module needs: they lie in Blender's own folders above its site-packages."""
    if sys.platform == "win32":
        for parent in folder.parents:
            for libraries in (parent / "blender.shared", parent / "lib"):
                if any(libraries.glob("*openvdb*.dll")):
                    os.add_dll_directory(str(libraries))


def _is_complete(module: ModuleType) -> bool:
    return all(hasattr(module, name) for name in _NEEDED)
