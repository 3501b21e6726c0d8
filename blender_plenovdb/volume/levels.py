"""Levels of detail of one Volume datablock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from ..errors import PlenoError
from .metadata import FieldMetadata
from .modifier import VOXEL_SIZE_KEY, place


@dataclass(frozen=True)
class Level:
    """One level: 0 is the finest. Lengths in object units, memory in MB (EEVEE's dense textures; sparse grids)."""

    number: int
    path: Path
    resolution: tuple[int, int, int]
    voxel_size: tuple[float, float, float]
    dense_mb: float
    sparse_mb: float


def is_field(candidate: bpy.types.Object | None) -> bool:
    """Whether this object is a Volume that PlenoVDB imported."""
    return (
        candidate is not None
        and isinstance(candidate.data, bpy.types.Volume)
        and len(candidate.data.plenovdb.levels) > 0
    )


def fields_of(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    return [candidate for candidate in scene.objects if is_field(candidate)]


def levels_of(volume: bpy.types.Volume) -> tuple[Level, ...]:
    """All levels of the datablock, finest first, as they were when it was imported."""
    folder = Path(bpy.path.abspath(volume.filepath, library=volume.library)).parent
    return tuple(
        Level(
            number=item.number,
            path=folder / item.file_name,
            resolution=tuple(item.resolution),
            voxel_size=tuple(item.voxel_size),
            dense_mb=item.dense_mb,
            sparse_mb=item.sparse_mb,
        )
        for item in volume.plenovdb.levels
    )


def remember_levels(volume: bpy.types.Volume, family: list[FieldMetadata]) -> None:
    """Stores what the levels are. File names only: the folder is the filepath's, which Blender keeps right."""
    items: Any = volume.plenovdb.levels
    items.clear()
    for metadata in family:
        item = items.add()
        item.number = metadata.lod_level
        item.file_name = metadata.path.name
        item.resolution = metadata.resolution
        item.voxel_size = metadata.voxel_size
        item.dense_mb = metadata.dense_mb
        item.sparse_mb = metadata.sparse_mb


def set_level(volume_object: bpy.types.Object, number: int) -> Level:
    """Shows another level on every object of the datablock. See `api.set_level_of_detail`."""
    if not is_field(volume_object):
        raise PlenoError(f"{volume_object.name} is no PlenoVDB volume.", "Select an imported field.")
    volume = volume_object.data
    assert isinstance(volume, bpy.types.Volume)
    levels = {level.number: level for level in levels_of(volume)}
    if number not in levels:
        known = ", ".join(map(str, levels))
        raise PlenoError(f"{volume_object.name} has no level of detail {number}.", f"Choose one of {known}.")
    level = levels[number]
    if not level.path.is_file():
        raise PlenoError(
            f"The file of level {number}, {level.path}, is gone.", "Put it back, or import the field again."
        )
    show(volume, level)
    return level


def show(volume: bpy.types.Volume, level: Level) -> None:
    """Swaps the file and what depends on its voxels: the step's length and the placement."""
    path = str(level.path)
    volume.filepath = bpy.path.relpath(path) if volume.filepath.startswith("//") else path
    volume.plenovdb.level = level.number
    volume.render.step_size = min(level.voxel_size) / 2
    volume[VOXEL_SIZE_KEY] = level.voxel_size
    volume.update_tag()
    for scene in bpy.data.scenes:
        for user in scene.objects:
            if user.data == volume:
                place(user, scene.render.engine)
