"""Camera objects from a job's frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix

from .frames import Frame, read_frames
from .intrinsics import blender_lens

JOB_KEY = "plenovdb_job"
SPLIT_KEY = "plenovdb_split"
SIZE_KEY = "plenovdb_size"
ASPECT_KEY = "plenovdb_pixel_aspect"

PHOTO_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".webp", ".bmp"})


@dataclass(frozen=True)
class ImportedCameras:
    """The camera objects in the order of cameras.json, and photos that were not found."""

    collection: bpy.types.Collection
    training: tuple[bpy.types.Object, ...]
    held_out: tuple[bpy.types.Object, ...]
    missing_photos: int


def import_cameras(scene: bpy.types.Scene, job_folder: Path, *, photos: bool = True) -> ImportedCameras:
    """See `api.import_cameras`."""
    job_folder = Path(bpy.path.abspath(str(job_folder))).expanduser().absolute()
    frames = read_frames(job_folder)
    job = str(job_folder)
    collection = _collection(scene.collection, f"Cameras {job_folder.name}", job, "")
    held_out = _collection(collection, f"Held-out {job_folder.name}", job, "test")
    old_active = scene.camera.name if scene.camera is not None else ""
    for old in [*collection.objects, *held_out.objects]:
        if old.get(JOB_KEY) == job:
            _remove(old)
    made: dict[str, list[bpy.types.Object]] = {"train": [], "test": []}
    missing = 0
    for frame in frames:
        camera = _camera(frame, job)
        (held_out if frame.split == "test" else collection).objects.link(camera)
        made[frame.split].append(camera)
        if photos and not _show_photo(camera.data, frame.photo):
            missing += 1
    if scene.camera is None and old_active in scene.objects:
        scene.camera = scene.objects[old_active]
    return ImportedCameras(collection, tuple(made["train"]), tuple(made["test"]), missing)


def apply_size(scene: bpy.types.Scene, camera: bpy.types.Object) -> None:
    """Makes the camera active and renders the size and pixel aspect of its photo."""
    scene.camera = camera
    if camera.get(SIZE_KEY) is None:
        return
    render = scene.render
    render.resolution_x, render.resolution_y = camera[SIZE_KEY]
    render.resolution_percentage = 100
    render.pixel_aspect_x, render.pixel_aspect_y = camera[ASPECT_KEY]
    render.use_border = False


def imported_cameras(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """Cameras of the scene that came from a job, held-out ones first."""
    cameras = [
        candidate for candidate in scene.objects if candidate.type == "CAMERA" and candidate.get(SPLIT_KEY) is not None
    ]
    return sorted(cameras, key=lambda camera: camera[SPLIT_KEY] != "test")


def _collection(parent: bpy.types.Collection, name: str, job: str, split: str) -> bpy.types.Collection:
    for child in parent.children:
        if child.get(JOB_KEY) == job and child.get(SPLIT_KEY) == split:
            return child
    child = bpy.data.collections.new(name)
    child[JOB_KEY], child[SPLIT_KEY] = job, split
    parent.children.link(child)
    return child


def _camera(frame: Frame, job: str) -> bpy.types.Object:
    lens = blender_lens(frame.pinhole)
    data = bpy.data.cameras.new(frame.photo.stem)
    data.type = "PERSP"
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width = lens.sensor_width
    data.lens_unit = "MILLIMETERS"
    data.lens = lens.lens
    data.shift_x, data.shift_y = lens.shift_x, lens.shift_y
    data.clip_start, data.clip_end = 0.01, 1e4
    data.display_size = 0.2
    camera = bpy.data.objects.new(f"{frame.split} {frame.photo.stem}", data)
    # The axes are Blender's already. A matrix that is not quite orthonormal keeps its place and loses its shear.
    camera.matrix_world = Matrix(frame.camera_to_world).normalized()
    camera[JOB_KEY], camera[SPLIT_KEY] = job, frame.split
    camera[SIZE_KEY] = (frame.pinhole.width, frame.pinhole.height)
    camera[ASPECT_KEY] = (lens.pixel_aspect_x, lens.pixel_aspect_y)
    return camera


def _show_photo(data: Any, photo: Path) -> bool:
    """Shows the photo behind the scene in this camera's view; False if there is no such image file."""
    if photo.suffix.lower() not in PHOTO_SUFFIXES or not photo.is_file():
        return False
    try:
        image = bpy.data.images.load(str(photo), check_existing=True)
    except RuntimeError:
        return False
    background = data.background_images.new()
    background.image = image
    background.alpha = 1.0
    background.display_depth = "BACK"
    background.frame_method = "STRETCH"
    data.show_background_images = True
    return True


def _remove(camera: bpy.types.Object) -> None:
    data = camera.data
    bpy.data.objects.remove(camera)
    if isinstance(data, bpy.types.Camera) and data.users == 0:
        bpy.data.cameras.remove(data)
