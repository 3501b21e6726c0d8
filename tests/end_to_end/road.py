"""The whole road through Blender, as the demo and the end-to-end test walk it: install, train, import, render, compare.

Everything that a person would click goes through the extension's operators. Runs in pip's bpy with nothing but what
Blender brings (numpy); the backend runs in a process of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

EXTENSION = "bl_ext.user_default.blender_plenovdb"
SAMPLES = 16

Image = NDArray[np.float32]
"""[H, W, 3] sRGB-encoded, the first row on top."""


def install_extension(archive: Path) -> Any:
    """Install the zip as a user does ("Install from Disk") and return the extension's `api` module."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.extensions.package_install_files(filepath=str(archive), repo="user_default", enable_on_install=True)
    return importlib.import_module(f"{EXTENSION}.api")


def active_scene() -> bpy.types.Scene:
    scene = bpy.context.scene
    assert scene is not None
    return scene


def start_training(dataset: Path, job_folder: Path, **options: Any) -> None:
    """Press Train: the job runs in its own process, the operator returns at once."""
    bpy.ops.plenovdb.train(dataset=str(dataset), job_folder=str(job_folder), wait=False, **options)


def place_field(job: Path, output: Path) -> Path:
    """Put the field and its levels of detail beside scene.blend, as links where the disk can, and return the finest."""
    for old in output.glob("field*.vdb"):
        old.unlink()
    for source in sorted(job.glob("field*.vdb")):
        try:
            os.link(source, output / source.name)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, output / source.name)
    return output / "field.vdb"


def import_everything(field: Path, job_folder: Path) -> tuple[bpy.types.Object, int]:
    """Import volume and cameras, look at every level of detail once; the volume and how many coarser levels it has."""
    blend = field.with_name("scene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))  # relative paths need a place
    bpy.ops.plenovdb.import_field(filepath=str(field))
    volume = bpy.context.view_layer.objects.active
    assert volume is not None
    bpy.ops.plenovdb.import_cameras(job_folder=str(job_folder))
    levels = len(list(field.parent.glob(f"{field.stem}_lod*.vdb")))
    for level in (*range(1, levels + 1), 0):
        bpy.ops.plenovdb.set_level(object_name=volume.name, level=level)
    return volume, levels


def save_scene(path: Path) -> None:
    """Save the .blend so that it opens anywhere with its folder: photos packed, volumes by relative path."""
    for image in bpy.data.images:  # not `file.pack_all`, which packs the volumes as well
        if image.source == "FILE" and not image.packed_file:
            image.pack()
    bpy.ops.wm.save_as_mainfile(filepath=str(path), relative_remap=True)
    bpy.ops.file.make_paths_relative()
    bpy.ops.wm.save_as_mainfile(filepath=str(path))


def load_image(path: Path) -> NDArray[np.float32]:
    """A picture as it is stored, [H, W, 4] in 0..1: no colour management, alpha not multiplied in."""
    image = bpy.data.images.load(str(path))
    try:
        image.colorspace_settings.name = "Non-Color"
        image.alpha_mode = "CHANNEL_PACKED"
        width, height = image.size
        pixels = np.empty(width * height * 4, np.float32)
        image.pixels.foreach_get(pixels)
    finally:
        bpy.data.images.remove(image)
    return np.ascontiguousarray(pixels.reshape(height, width, 4)[::-1])


def decode_srgb(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Light of sRGB-encoded values."""
    power = ((np.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.where(values <= 0.04045, values / 12.92, power).astype(np.float32)


def encode_srgb(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """sRGB-encoded values of light."""
    power = 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, light * 12.92, power).astype(np.float32)


def photo_over(background: Sequence[float], path: Path) -> Image:
    """A photo with alpha in front of the world's colour, composited in light as Blender and the trainer do."""
    pixels = load_image(path)
    alpha = pixels[..., 3:]
    behind = decode_srgb(np.asarray(background, np.float32))
    light = np.asarray(decode_srgb(pixels[..., :3]) * alpha + behind * (1 - alpha), np.float32)
    return encode_srgb(light)


def psnr(one: Image, other: Image) -> float:
    """Peak signal-to-noise ratio in dB of two pictures in 0..1."""
    error = float(np.mean((np.clip(one, 0, 1).astype(np.float64) - np.clip(other, 0, 1)) ** 2))
    return float("inf") if error == 0 else -10 * float(np.log10(error))


@dataclass(frozen=True)
class HeldOutView:
    """A frame that the trainer never learned from, with its imported camera."""

    name: str
    photo: Path
    camera: bpy.types.Object


def held_out_views(job_folder: Path, scene: bpy.types.Scene) -> list[HeldOutView]:
    """The held-out frames of the job's cameras.json; each camera is found by where it stands, not by its name."""
    frames = json.loads((job_folder / "cameras.json").read_text(encoding="utf-8"))["frames"]
    cameras = [item for item in scene.objects if item.type == "CAMERA"]
    places = np.array([np.array(camera.matrix_world)[:3] for camera in cameras])
    views = []
    for frame in frames:
        if frame["split"] != "test":
            continue
        distance = np.abs(places - np.array(frame["transform_matrix"])[:3]).max(axis=(1, 2))
        nearest = int(distance.argmin())
        if distance[nearest] > 1e-4:
            raise AssertionError(f"No imported camera stands where {frame['file_path']} was taken.")
        photo = Path(frame["file_path"])
        views.append(HeldOutView(photo.stem, photo, cameras[nearest]))
    return views


def render_in_cycles(scene: bpy.types.Scene, camera: bpy.types.Object, target: Path) -> Image:
    """Cycles' picture of an imported camera, set up by the extension's own operator, stored with 16 bits."""
    bpy.ops.plenovdb.setup_scene(camera=camera.name, pixel_exact=True)
    scene.cycles.samples = SAMPLES
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGB", "16"
    scene.render.filepath = str(target)
    bpy.ops.render.render(write_still=True)
    return load_image(target)[..., :3]


def render_with_trainer(field: Path, job_folder: Path, output: Path) -> dict[str, Image]:
    """The backend's own pictures of the held-out cameras, by the frame's name; run as the extension runs it."""
    environment = importlib.import_module(f"{EXTENSION}.places").backend_environment()
    output.mkdir(parents=True, exist_ok=True)
    arguments = ["render", str(field), "--cameras", str(job_folder / "cameras.json"), "--split", "test"]
    answer = subprocess.run(
        environment.command(*arguments, "--output", str(output)),
        cwd=output,
        env=environment.variables(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=600,
        check=False,
    )
    if answer.returncode != 0:
        raise RuntimeError(f"The backend could not render {field}: {answer.stderr.strip() or answer.stdout.strip()}")
    return {path.stem: load_image(path)[..., :3] for path in output.rglob("*.png")}


@dataclass(frozen=True)
class ViewComparison:
    """One held-out view: the three pictures and how far apart they are, in dB."""

    name: str
    photo: Image
    trainer: Image
    cycles: Image
    background: Image

    @property
    def background_photo(self) -> float:
        """What a volume that shows nothing would have reached."""
        return psnr(self.background, self.photo)

    @property
    def trainer_photo(self) -> float:
        return psnr(self.trainer, self.photo)

    @property
    def cycles_photo(self) -> float:
        return psnr(self.cycles, self.photo)

    @property
    def cycles_trainer(self) -> float:
        return psnr(self.cycles, self.trainer)


def compare_held_out(
    scene: bpy.types.Scene,
    field: Path,
    job_folder: Path,
    folder: Path,
    *,
    limit: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> list[ViewComparison]:
    """Photo, trainer and Cycles at the held-out cameras; pictures are kept in `folder`/trainer and `folder`/cycles."""
    background = json.loads((job_folder / "cameras.json").read_text(encoding="utf-8"))["background"]
    trainer = render_with_trainer(field, job_folder, folder / "trainer")
    views = held_out_views(job_folder, scene)[:limit]
    comparisons = []
    for index, view in enumerate(views):
        if report:
            report(index, len(views))
        cycles = render_in_cycles(scene, view.camera, folder / "cycles" / f"{view.name}.png")
        photo = photo_over(background, view.photo)
        empty = np.broadcast_to(np.asarray(background, np.float32), photo.shape)
        comparisons.append(ViewComparison(view.name, photo, trainer[view.name], cycles, empty))
    return comparisons


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
