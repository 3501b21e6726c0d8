"""Everything is registered with words for people, and nothing stays behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import addon_utils
import bpy
from installed import PACKAGE

OPERATORS = {
    "attach",
    "cancel",
    "check_backend",
    "import_cameras",
    "import_field",
    "open_folder",
    "open_log",
    "set_level",
    "setup_scene",
    "train",
    "use_demo_scene",
}
HANDLERS = (bpy.app.handlers.load_post, bpy.app.handlers.depsgraph_update_post)


def ours(handlers: Any) -> list[Any]:
    return [handler for handler in handlers if handler.__module__.startswith(PACKAGE)]


def test_every_operator_panel_and_property(extension: Any, part: Callable[[str], Any]) -> None:
    assert {name for name in dir(bpy.ops.plenovdb) if not name.startswith("_")} == OPERATORS
    for name in OPERATORS:
        kind = getattr(bpy.ops.plenovdb, name).get_rna_type()
        assert kind.description, name
        assert not kind.description.endswith("."), name
        for prop in kind.properties:
            assert prop.identifier in ("rna_type", "filter_glob") or prop.description, f"{name}.{prop.identifier}"
    for cls in part("registration").CLASSES:
        assert cls.is_registered, cls.__name__
    assert hasattr(bpy.types.Scene, "plenovdb")
    assert hasattr(bpy.types.Volume, "plenovdb")
    assert [len(ours(handlers)) for handlers in HANDLERS] == [1, 1]
    assert bpy.context.preferences.addons[PACKAGE].preferences.interpreter == ""


def test_unregister_leaves_nothing(extension: Any, part: Callable[[str], Any]) -> None:
    classes, timers = part("registration").CLASSES, part("handlers")
    for _ in range(2):
        addon_utils.disable(PACKAGE, default_set=True)
        assert not any(cls.is_registered for cls in classes)
        assert not hasattr(bpy.types.Scene, "plenovdb")
        assert not hasattr(bpy.types.Volume, "plenovdb")
        assert [len(ours(handlers)) for handlers in HANDLERS] == [0, 0]
        assert not bpy.app.timers.is_registered(timers._tick)
        assert not [name for name in dir(bpy.ops.plenovdb) if not name.startswith("_")]
        assert addon_utils.enable(PACKAGE, default_set=True) is not None
        assert all(cls.is_registered for cls in classes)


def test_timer_is_only_for_windows(part: Callable[[str], Any]) -> None:
    """A live timer at exit hangs Blender in background."""
    handlers = part("handlers")
    handlers.watch_jobs()
    assert bpy.app.background
    assert not bpy.app.timers.is_registered(handlers._tick)


def test_properties_of_operator_and_scene_agree(scene: Any) -> None:
    operator = {prop.identifier: prop for prop in bpy.ops.plenovdb.train.get_rna_type().properties}
    shared = [prop for prop in scene.plenovdb.bl_rna.properties if prop.identifier in operator]
    assert len(shared) > 9
    for prop in shared:
        if prop.identifier not in ("rna_type", "job_folder"):
            assert operator[prop.identifier].description == prop.description
