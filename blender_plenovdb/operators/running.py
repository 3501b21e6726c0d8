"""What all operators share: errors become one reported sentence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from ..errors import PlenoError
from ..volume.levels import fields_of, is_field

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

    Result = set[OperatorReturnItems]


class Running:
    """Mixed into operators: `run` does the work and may raise PlenoError."""

    def execute(self: Any, context: bpy.types.Context) -> Result:
        try:
            self.run(context)
        except PlenoError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}

    def say(self: Any, message: str, warnings: tuple[str, ...] = ()) -> None:
        self.report({"INFO"}, message)
        for warning in warnings:
            self.report({"WARNING"}, warning)


class RunningOnField(Running):
    """Mixed into operators that need a field in the scene."""

    @classmethod
    def poll(cls: Any, context: bpy.types.Context) -> bool:
        if shown_field(context) is None:
            cls.poll_message_set("Import a field first")
            return False
        return True


def scene_of(context: bpy.types.Context) -> bpy.types.Scene:
    assert context.scene is not None
    return context.scene


def job_folder_of(scene: bpy.types.Scene, given: str = "") -> Path:
    """The job named by a property, else the scene's. Raises PlenoError if there is neither."""
    folder = given or scene.plenovdb.job_folder
    if not folder:
        raise PlenoError("This scene has no training job.", "Train first, or attach to the folder of a job.")
    return Path(bpy.path.abspath(folder))


def field_of(context: bpy.types.Context, name: str = "") -> bpy.types.Object:
    """The volume named by a property, else the active one, else the scene's first. Raises PlenoError without one."""
    scene = scene_of(context)
    if name:
        named = scene.objects.get(name)
        if named is None:
            raise PlenoError(f"There is no object {name!r} in the scene {scene.name}.", "Give an object's name.")
        return named
    candidate = shown_field(context)
    if candidate is None:
        raise PlenoError(f"The scene {scene.name} has no PlenoVDB volume.", "Import a field first.")
    return candidate


def shown_field(context: bpy.types.Context) -> bpy.types.Object | None:
    """The volume that panel and operators are about."""
    active = context.view_layer.objects.active if context.view_layer is not None else None
    if is_field(active):
        return active
    return next(iter(fields_of(scene_of(context))), None)
