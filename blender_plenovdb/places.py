"""Where things lie: the extension's folders, Blender's openvdb, the backend's interpreter."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import bpy

from .errors import PlenoError
from .jobs.environment import Environment, find_interpreter

DEMO_SCENE = Path(__file__).parent / "demo_scene"


def user_folder(name: str) -> Path:
    """A folder below the extension's own user folder, the only place that an extension may always write to."""
    return Path(bpy.utils.extension_path_user(__package__ or "", path=name))


def default_output_folder() -> Path:
    return user_folder("jobs")


def preferred_interpreter() -> str:
    addon = bpy.context.preferences.addons.get(__package__ or "")
    return addon.preferences.interpreter if addon is not None and addon.preferences is not None else ""


def backend_environment() -> Environment:
    """The backend's surroundings as the preferences say. Raises PlenoError if no usable interpreter is set."""
    return Environment(find_interpreter(preferred_interpreter()), user_folder("caches"), openvdb_folder())


def openvdb_folder() -> Path | None:
    """The folder with Blender's `openvdb`, for a backend that runs the same Python version."""
    spec = importlib.util.find_spec("openvdb")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def expose_openvdb() -> None:
    """Makes Blender's `openvdb` importable under pip's bpy, which hides it until asked; elsewhere it is already."""
    if openvdb_folder() is None and hasattr(bpy.utils, "expose_bundled_modules"):
        bpy.utils.expose_bundled_modules()


def demo_scene() -> Path:
    """The bundled photos. Raises PlenoError if this copy of the extension has none."""
    if not (DEMO_SCENE / "transforms_train.json").is_file():
        raise PlenoError(
            f"The demo scene is missing in {DEMO_SCENE}.", "Install the extension again from its zip file."
        )
    return DEMO_SCENE
