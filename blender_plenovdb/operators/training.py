"""Starting, cancelling and finding training jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from .. import api, handlers, places
from ..declared import declared, props
from ..jobs import session
from ..jobs.describing import one_line
from ..jobs.request import parse_settings
from ..properties import training_properties
from .running import Running, job_folder_of, scene_of

WAIT = "Return only when it is done. The default is to wait in background and not to wait in a window"


def has_running_job(scene: bpy.types.Scene) -> bool:
    """By what was last seen: reads no file, so that panels may ask."""
    folder = scene.plenovdb.job_folder
    return bool(folder) and session.is_active(Path(folder))


class PLENOVDB_OT_use_demo_scene(Running, bpy.types.Operator):
    """Train from the photos that come with the extension"""

    bl_idname = "plenovdb.use_demo_scene"
    bl_label = "Use Demo Scene"
    bl_options = {"REGISTER", "UNDO"}

    def run(self, context: bpy.types.Context) -> None:
        scene_of(context).plenovdb.dataset = str(places.demo_scene())


@declared(
    **training_properties(),
    job_folder=props.StringProperty(
        name="Job Folder",
        description="Folder of the new job; empty: a new folder below the scene's output folder",
        subtype="DIR_PATH",
    ),
    wait=props.BoolProperty(name="Wait", description=WAIT, options={"SKIP_SAVE"}),
)
class PLENOVDB_OT_train(Running, bpy.types.Operator):
    """Train a radiance volume from the photos, in a process of its own that goes on without Blender"""

    bl_idname = "plenovdb.train"
    bl_label = "Train"

    dataset: str
    preset: str
    max_seconds: float
    downscale: int
    device: str
    compositing: str
    levels: int
    threads: int
    settings: str
    job_folder: str
    wait: bool

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if has_running_job(scene_of(context)):
            cls.poll_message_set("This scene is training already: cancel it first, or wait")
            return False
        return True

    def run(self, context: bpy.types.Context) -> None:
        scene = scene_of(context)
        options = self._options(scene)
        folder = Path(bpy.path.abspath(self.job_folder)) if self.job_folder else None
        if self._option("wait", bpy.app.background):
            status = api.train(
                scene, options, job_folder=folder, report=lambda status: print(one_line(status), flush=True)
            )
            self.say(f"Training {status.state}: {status.folder}")
            return
        job = api.start_training(scene, options, job_folder=folder)
        handlers.watch_jobs()
        self.say(f"Training started in {job.folder}")

    def _options(self, scene: bpy.types.Scene) -> api.TrainingOptions:
        values = {name: self._option(name, getattr(scene.plenovdb, name)) for name in training_properties()}
        return api.TrainingOptions(
            dataset=Path(bpy.path.abspath(values["dataset"])) if values["dataset"] else Path(),
            preset=values["preset"],
            max_seconds=values["max_seconds"] or None,
            downscale=values["downscale"],
            device=values["device"],
            compositing=values["compositing"],
            levels=values["levels"] or None,
            threads=values["threads"] or None,
            settings=parse_settings(values["settings"]),
        )

    def _option(self, name: str, otherwise: Any) -> Any:
        return getattr(self, name) if self.properties.is_property_set(name) else otherwise


@declared(
    force=props.BoolProperty(
        name="Force",
        description="End the trainer's process now; only what it has written before remains",
        options={"SKIP_SAVE"},
    )
)
class PLENOVDB_OT_cancel(Running, bpy.types.Operator):
    """Ask the trainer to stop; it keeps the best so far and writes a checkpoint and the field"""

    bl_idname = "plenovdb.cancel"
    bl_label = "Cancel Training"

    force: bool

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        folder = scene_of(context).plenovdb.job_folder
        status = session.last_seen(Path(folder)) if folder else None
        if not folder or (status is not None and status.is_over):
            cls.poll_message_set("No training is running in this scene")
            return False
        return True

    def run(self, context: bpy.types.Context) -> None:
        folder = job_folder_of(scene_of(context))
        api.cancel(folder, force=self.force)
        self.say(f"Asked the trainer in {folder} to stop")


@declared(directory=props.StringProperty(name="Job Folder", description="Folder of the job", subtype="DIR_PATH"))
class PLENOVDB_OT_attach(Running, bpy.types.Operator):
    """Make an existing training job this scene's job, running or done, whoever started it"""

    bl_idname = "plenovdb.attach"
    bl_label = "Attach to Job"
    bl_options = {"REGISTER", "UNDO"}

    directory: str

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Any:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        scene = scene_of(context)
        status = api.attach(scene, job_folder_of(scene, self.directory))
        handlers.watch_jobs()
        self.say(one_line(status))


class PLENOVDB_OT_open_log(Running, bpy.types.Operator):
    """Open the trainer's log, train.log, in the system's text viewer"""

    bl_idname = "plenovdb.open_log"
    bl_label = "Open Log"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return _has_job(cls, context)

    def run(self, context: bpy.types.Context) -> None:
        _open(job_folder_of(scene_of(context)) / "train.log")


class PLENOVDB_OT_open_folder(Running, bpy.types.Operator):
    """Open the job's folder in the system's file browser"""

    bl_idname = "plenovdb.open_folder"
    bl_label = "Open Job Folder"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return _has_job(cls, context)

    def run(self, context: bpy.types.Context) -> None:
        _open(job_folder_of(scene_of(context)))


def _has_job(operator: type[bpy.types.Operator], context: bpy.types.Context) -> bool:
    if not scene_of(context).plenovdb.job_folder:
        operator.poll_message_set("This scene has no training job")
        return False
    return True


def _open(path: Path) -> None:
    if not path.exists():
        raise api.PlenoError(f"{path} does not exist.", "The job may have been moved or deleted; attach to it again.")
    if bpy.app.background:
        print(path)
    else:
        bpy.ops.wm.path_open(filepath=str(path))


CLASSES = (
    PLENOVDB_OT_use_demo_scene,
    PLENOVDB_OT_train,
    PLENOVDB_OT_cancel,
    PLENOVDB_OT_attach,
    PLENOVDB_OT_open_log,
    PLENOVDB_OT_open_folder,
)
