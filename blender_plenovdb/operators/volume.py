"""Importing fields and choosing their level of detail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from .. import api
from ..declared import declared, props
from .running import Running, RunningOnField, field_of, job_folder_of, scene_of


@declared(
    filepath=props.StringProperty(
        name="Field",
        description="A field.vdb or the folder of a job; empty: the scene's own job",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    ),
    filter_glob=props.StringProperty(default="*.vdb", options={"HIDDEN"}),
)
class PLENOVDB_OT_import_field(Running, bpy.types.Operator):
    """Import a trained field with its levels of detail as one Volume object with its material"""

    bl_idname = "plenovdb.import_field"
    bl_label = "Import Field"
    bl_options = {"REGISTER", "UNDO"}

    filepath: str
    filter_glob: str

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Any:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        scene = scene_of(context)
        source = Path(bpy.path.abspath(self.filepath)) if self.filepath else job_folder_of(scene)
        imported = api.import_field(scene, source)
        for selected in context.selected_objects:
            selected.select_set(False)
        if context.view_layer is not None and imported.object.name in context.view_layer.objects:
            imported.object.select_set(True)
            context.view_layer.objects.active = imported.object
        known = "is here already" if imported.reused else "imported"
        size = " x ".join(map(str, imported.metadata.resolution))
        self.say(f"{imported.object.name} {known}: {size} voxels, {len(imported.levels)} levels", imported.warnings)


@declared(
    level=props.IntProperty(name="Level", description="Level of detail, 0 is the finest", min=0, max=31),
    object_name=props.StringProperty(name="Object", description="The volume; empty: the active one, else the first"),
)
class PLENOVDB_OT_set_level(RunningOnField, bpy.types.Operator):
    """Show this level of detail; transform, material and animation stay as they are"""

    bl_idname = "plenovdb.set_level"
    bl_label = "Set Level of Detail"
    bl_options = {"REGISTER", "UNDO"}

    level: int
    object_name: str

    def run(self, context: bpy.types.Context) -> None:
        api.set_level_of_detail(field_of(context, self.object_name), self.level)


CLASSES = (PLENOVDB_OT_import_field, PLENOVDB_OT_set_level)
