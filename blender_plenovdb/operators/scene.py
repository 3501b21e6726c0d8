"""Cameras and render settings."""

from __future__ import annotations

import bpy

from .. import api
from ..declared import declared, props
from .running import Running, RunningOnField, field_of, job_folder_of, scene_of


@declared(
    job_folder=props.StringProperty(
        name="Job Folder", description="Folder of the job; empty: the scene's own", subtype="DIR_PATH"
    ),
    photos=props.BoolProperty(
        name="Photos", description="Show each photo behind the scene in its camera", default=True
    ),
)
class PLENOVDB_OT_import_cameras(Running, bpy.types.Operator):
    """Make a camera of every photo, the held-out ones in a collection of their own"""

    bl_idname = "plenovdb.import_cameras"
    bl_label = "Import Cameras"
    bl_options = {"REGISTER", "UNDO"}

    job_folder: str
    photos: bool

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        # A script may name a job in the call, which poll cannot see.
        if not bpy.app.background and not scene_of(context).plenovdb.job_folder:
            cls.poll_message_set("Train first, or attach to the folder of a job")
            return False
        return True

    def run(self, context: bpy.types.Context) -> None:
        scene = scene_of(context)
        cameras = api.import_cameras(scene, job_folder_of(scene, self.job_folder), photos=self.photos)
        warnings = (f"{cameras.missing_photos} photos were not found",) if cameras.missing_photos else ()
        self.say(f"{len(cameras.training)} cameras, {len(cameras.held_out)} held out", warnings)


@declared(
    camera=props.StringProperty(name="Camera", description="The camera to look through; empty: the first held-out one"),
    object_name=props.StringProperty(
        name="Object", description="The volume whose background counts; empty: the active one"
    ),
    pixel_exact=props.BoolProperty(
        name="Pixel-exact",
        description="A narrow pixel filter and no denoising, to compare with photos; off: leave sampling as it is",
        default=True,
    ),
)
class PLENOVDB_OT_setup_scene(RunningOnField, bpy.types.Operator):
    """Set world, view transform, Cycles and camera so that renders show what the trainer saw"""

    bl_idname = "plenovdb.setup_scene"
    bl_label = "Set Up Scene"
    bl_options = {"REGISTER", "UNDO"}

    camera: str
    object_name: str
    pixel_exact: bool

    def run(self, context: bpy.types.Context) -> None:
        scene = scene_of(context)
        camera = None
        if self.camera:
            camera = scene.objects.get(self.camera)
            if camera is None or camera.type != "CAMERA":
                raise api.PlenoError(f"There is no camera {self.camera!r} in this scene.", "Give a camera's name.")
        setup = api.setup_scene(
            scene,
            volume_object=field_of(context, self.object_name),
            camera=camera,
            pixel_exact=self.pixel_exact,
        )
        through = f", seen through {setup.camera}" if setup.camera else ""
        self.say(f"Cycles shows the field under {setup.view_transform}{through}", setup.warnings)


CLASSES = (PLENOVDB_OT_import_cameras, PLENOVDB_OT_setup_scene)
