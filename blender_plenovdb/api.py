"""The Python API of the extension: what the operators do, as typed functions.

    from bl_ext.user_default.blender_plenovdb import api

    job = api.start_training(scene, api.TrainingOptions(dataset=Path("photos")))
    status = api.wait(job.folder)
    field = api.import_field(scene, job.folder)
    api.set_level_of_detail(field.object, 1)
    cameras = api.import_cameras(scene, job.folder)
    api.setup_scene(scene)

Every function raises `PlenoError` with one sentence that says what happened and where, and one that says what to do.
Lengths are world units of the trained scene, which are object units of the imported Volume; colours are named as
sRGB-encoded or linear where they occur. Nothing here waits, except `wait`, `train` and `check_backend`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import bpy

from .cameras.importing import ImportedCameras
from .cameras.importing import import_cameras as _import_cameras
from .errors import PlenoError
from .jobs import backend, launching, session
from .jobs.backend import BackendReport
from .jobs.environment import Environment
from .jobs.request import TrainingOptions
from .jobs.status import JobStatus, read_status
from .jobs.watching import Job, find_jobs_in, request_cancel
from .places import backend_environment, default_output_folder
from .render.setup import SceneSetup
from .render.setup import setup_scene as _setup_scene
from .volume.importing import ImportedField
from .volume.importing import import_field as _import_field
from .volume.levels import Level
from .volume.levels import set_level as _set_level

__all__ = [
    "BackendReport",
    "Environment",
    "ImportedCameras",
    "ImportedField",
    "Job",
    "JobStatus",
    "Level",
    "PlenoError",
    "SceneSetup",
    "TrainingOptions",
    "attach",
    "cancel",
    "check_backend",
    "find_jobs",
    "import_cameras",
    "import_field",
    "poll",
    "set_level_of_detail",
    "setup_scene",
    "start_training",
    "train",
    "wait",
]

WAIT_INTERVAL = 0.2
"""Seconds between two looks at status.json while `wait` blocks."""


def start_training(
    scene: bpy.types.Scene,
    options: TrainingOptions,
    *,
    job_folder: Path | None = None,
    environment: Environment | None = None,
) -> Job:
    """Starts a trainer in a process of its own and returns at once; the scene remembers the job's folder.

    job_folder: where the job lives; by default a new folder below the scene's output folder. A folder that holds
        an earlier job is refused.
    environment: interpreter and folders; by default those of the preferences.

    Raises PlenoError if the dataset, the interpreter or the folder cannot be used, or a job of this scene still runs.
    """
    current = scene.plenovdb.job_folder
    if current and session.is_active(Path(current)):
        raise PlenoError(
            f"This scene is training already, in {current}.",
            "Wait until it is done or cancel it, then start again.",
        )
    environment = environment or backend_environment()
    if job_folder is None:
        parent = scene.plenovdb.output
        job_folder = launching.new_job_folder(
            Path(bpy.path.abspath(parent)) if parent else default_output_folder(), options.dataset
        )
    job = launching.launch(options, job_folder, environment)
    session.watch(job)
    scene.plenovdb.job_folder = str(job.folder)
    return job


def poll(folder: Path) -> JobStatus:
    """The job's state as of now: one small read, never blocks. Also refreshes what the panel shows."""
    return session.refresh(folder)


def wait(folder: Path, report: Callable[[JobStatus], None] | None = None, *, timeout: float | None = None) -> JobStatus:
    """Blocks until the job has ended and returns its last status; calls `report` after every change.

    timeout: seconds, or None for no limit. Raises PlenoError when it is exceeded; the trainer goes on.
    """
    started = time.monotonic()
    last: JobStatus | None = None
    while True:
        status = poll(folder)
        if report is not None and status != last:
            report(status)
        if status.is_over:
            return status
        if timeout is not None and time.monotonic() - started > timeout:
            raise PlenoError(
                f"The job in {folder} is not done after {timeout:.0f} s.", "It goes on; attach to it later."
            )
        last = status
        time.sleep(WAIT_INTERVAL)


def train(
    scene: bpy.types.Scene,
    options: TrainingOptions,
    *,
    job_folder: Path | None = None,
    environment: Environment | None = None,
    report: Callable[[JobStatus], None] | None = None,
) -> JobStatus:
    """`start_training` and `wait`: for scripts. Raises PlenoError with the trainer's own words if training fails."""
    job = start_training(scene, options, job_folder=job_folder, environment=environment)
    status = wait(job.folder, report)
    status.raise_if_failed()
    return status


def cancel(folder: Path, *, force: bool = False) -> None:
    """Asks the trainer to stop with a checkpoint and a field of what it has; returns at once.

    force: end the process now; only what has been written before remains.
    Raises PlenoError if no job runs there.
    """
    status = poll(folder)
    if status.is_over:
        raise PlenoError(f"No training is running in {folder}: it is {status.state}.", "There is nothing to cancel.")
    request_cancel(session.job(folder), status, force=force)


def find_jobs(scene: bpy.types.Scene | None = None, *, root: Path | None = None) -> list[JobStatus]:
    """Jobs found in `root` (default: the scene's output folder), the newest first; unreadable folders are left out."""
    if root is None:
        parent = scene.plenovdb.output if scene is not None else ""
        root = Path(bpy.path.abspath(parent)) if parent else default_output_folder()
    return find_jobs_in(root)


def attach(scene: bpy.types.Scene, folder: Path) -> JobStatus:
    """Makes the job in `folder` the scene's job, whoever started it. Raises PlenoError if there is none."""
    folder = folder.expanduser().resolve()
    status = read_status(folder)
    session.watch(Job(folder))
    scene.plenovdb.job_folder = str(folder)
    return session.refresh(folder) if not status.is_over else status


def import_field(
    scene: bpy.types.Scene, source: Path, *, collection: bpy.types.Collection | None = None
) -> ImportedField:
    """Brings a field and its levels of detail in as ONE Volume object with its material.

    source: a .vdb file of the VDB contract (any level of its family), or a job folder.
    collection: where the object goes; by default the scene's own collection.

    A field that is in the file already, unchanged, is returned as it stands, edits included. The object's location,
    rotation and scale are the user's: world units of the training are object units.
    Raises PlenoError for a missing, foreign or damaged file, and for a job that has no field yet.
    """
    return _import_field(scene, source, collection=collection)


def set_level_of_detail(volume_object: bpy.types.Object, level: int) -> Level:
    """Shows another level of detail (0 = finest) on the same object: transform, material and animation stay.

    Raises PlenoError if the object is no PlenoVDB volume, has no such level, or the level's file is gone.
    """
    return _set_level(volume_object, level)


def import_cameras(scene: bpy.types.Scene, job_folder: Path, *, photos: bool = True) -> ImportedCameras:
    """Makes a camera of every frame in the job's cameras.json, intrinsics exact, held-out ones in a sub-collection.

    photos: show each frame's photo as the camera's background image where the file exists.
    Importing again replaces the cameras of the same job. Raises PlenoError for a missing or invalid cameras.json.
    """
    return _import_cameras(scene, job_folder, photos=photos)


def setup_scene(
    scene: bpy.types.Scene,
    *,
    volume_object: bpy.types.Object | None = None,
    camera: bpy.types.Object | None = None,
    pixel_exact: bool = True,
) -> SceneSetup:
    """Sets the scene so that Cycles shows what the trainer saw: world colour, view transform, volume steps, camera.

    volume_object: whose background and compositing count; by default the first PlenoVDB volume of the scene.
    camera: becomes active and gives the render size; by default the scene's own camera if it is an imported one,
        else the first held-out one, else the first imported one.
    pixel_exact: one narrow sample footprint a pixel, no dithering, no denoising: comparable with photos.
    Raises PlenoError if the scene has no PlenoVDB volume.
    """
    return _setup_scene(scene, volume_object=volume_object, camera=camera, pixel_exact=pixel_exact)


def check_backend(environment: Environment | None = None, *, timeout: float = 120.0) -> BackendReport:
    """Runs the backend's `doctor` and returns what it found. Blocks; the operator calls it in a thread.

    Raises PlenoError if the interpreter does not run or the backend is not installed in it.
    """
    return backend.check(environment or backend_environment(), timeout=timeout)
