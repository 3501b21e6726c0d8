"""Bringing a field and its levels of detail in as one Volume object."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bpy

from ..errors import PlenoError
from ..jobs import session
from ..jobs.status import read_status
from ..material.field import field_material
from .levels import Level, levels_of, remember_levels, show
from .metadata import METADATA_KEY, FieldMetadata, level_paths, read_metadata
from .modifier import VOXEL_SIZE_KEY

EEVEE_ATTRIBUTES = 16
"""EEVEE reads at most this many grids in one material; degree 3 needs 17."""

DENSE_WARNING_MB = 4000.0


@dataclass(frozen=True)
class ImportedField:
    """The object, its levels (finest first), whether it was in the file already, and warnings for people."""

    object: bpy.types.Object
    levels: tuple[Level, ...]
    metadata: FieldMetadata
    reused: bool
    warnings: tuple[str, ...]


def import_field(
    scene: bpy.types.Scene, source: Path, *, collection: bpy.types.Collection | None = None
) -> ImportedField:
    """See `api.import_field`."""
    path = find_field(Path(bpy.path.abspath(str(source))).expanduser().absolute())
    family, warnings = _read_family(path)
    finest = family[0]
    fingerprint = finest.fingerprint()
    volume = _find_volume(fingerprint)
    reused = volume is not None
    if volume is None:
        volume = _new_volume(family, fingerprint)
    volume_object = next((user for user in scene.objects if user.data == volume), None)
    if volume_object is None:
        volume_object = bpy.data.objects.new(volume.name, volume)
        (collection or scene.collection).objects.link(volume_object)
        for material in filter(None, volume.materials):
            drive_step_rate(material, volume_object)
    shown = {level.number: level for level in levels_of(volume)}[volume.plenovdb.level]
    show(volume, shown)
    if not volume.grids.load():
        raise PlenoError(f"Blender cannot read {path}: {volume.grids.error_message}.", "Export the field again.")
    for layer in scene.view_layers:
        if volume_object.name in layer.objects:
            layer.objects.active = volume_object
    return ImportedField(volume_object, levels_of(volume), finest, reused, (*warnings, *_warn(scene, finest)))


def find_field(source: Path) -> Path:
    """The .vdb that `source`, a file or a job folder, stands for. Raises PlenoError if the job has none yet."""
    if not source.is_dir():
        return source
    field = source / "field.vdb"
    if (source / "status.json").is_file():
        status = read_status(source)
        field = status.levels[0] if status.levels else status.field or field
    if not field.is_file():
        raise PlenoError(
            f"There is no field in {source} yet.", "Wait until the training is done, or choose a .vdb file."
        )
    return field


def drive_step_rate(material: bpy.types.Material, volume_object: bpy.types.Object) -> None:
    """Keeps Cycles' step at half a voxel along its shortest axis under any scale of the object, animated ones too.

    The volume's own step size is half a voxel of the unscaled object and cannot be animated; the material's step rate
    multiplies it and can. With the render space OBJECT Blender would shorten the step under rotation as well. Blender
    evaluates so simple an expression without Python: it needs no permission to run scripts.
    """
    material.driver_remove("cycles.volume_step_rate")
    driver: Any = material.driver_add("cycles.volume_step_rate").driver
    driver.type = "SCRIPTED"
    for number, axis in enumerate("xyz"):
        size = driver.variables.new()
        size.name = f"v{axis}"
        size.type = "SINGLE_PROP"
        size.targets[0].id_type = "VOLUME"
        size.targets[0].id = volume_object.data
        size.targets[0].data_path = f'["{VOXEL_SIZE_KEY}"][{number}]'
        scale = driver.variables.new()
        scale.name = f"s{axis}"
        scale.type = "TRANSFORMS"
        scale.targets[0].id = volume_object
        scale.targets[0].transform_type = f"SCALE_{axis.upper()}"
        scale.targets[0].transform_space = "WORLD_SPACE"
    driver.expression = "min(vx * abs(sx), vy * abs(sy), vz * abs(sz)) / min(vx, vy, vz)"


def _read_family(path: Path) -> tuple[list[FieldMetadata], list[str]]:
    """All levels beside `path`, finest first. A level that does not fit is left out with a warning."""
    chosen = read_metadata(path)
    family, warnings = [chosen], []
    for other in level_paths(path):
        if other == path:
            continue
        try:
            metadata = read_metadata(other)
        except PlenoError as error:
            warnings.append(f"Left out a level of detail: {error.what}")
            continue
        if metadata.family != chosen.family or metadata.lod_level in {known.lod_level for known in family}:
            warnings.append(f"Left out {other.name}: it belongs to another field.")
            continue
        family.append(metadata)
    return sorted(family, key=lambda metadata: metadata.lod_level), warnings


def _find_volume(fingerprint: str) -> bpy.types.Volume | None:
    """The datablock of exactly these voxels, if the file has one and its finest level still exists."""
    for volume in bpy.data.volumes:
        if volume.library is None and volume.plenovdb.fingerprint == fingerprint:
            levels = levels_of(volume)
            if levels and levels[0].path.is_file():
                return volume
    return None


def _new_volume(family: list[FieldMetadata], fingerprint: str) -> bpy.types.Volume:
    family = _unseen(family, fingerprint)
    finest = family[0]
    name = Path(finest.dataset).name or finest.path.stem
    volume = bpy.data.volumes.new(name)
    volume.filepath = str(finest.path)
    volume.render.space = "WORLD"
    if hasattr(volume.display, "interpolation_method"):
        volume.display.interpolation_method = "LINEAR"
    settings: Any = volume.plenovdb
    settings.fingerprint = fingerprint
    settings.sh_degree = finest.sh_degree
    settings.compositing = finest.compositing
    settings.background = finest.background
    settings.level = finest.lod_level
    settings.bounds_min, settings.bounds_max = finest.scene_bounds[:3], finest.scene_bounds[3:]
    settings.held_out_psnr = finest.held_out_psnr or 0.0
    remember_levels(volume, family)
    note_levels(volume)
    volume[METADATA_KEY] = finest.text
    volume[VOXEL_SIZE_KEY] = finest.voxel_size
    volume.materials.append(field_material(name, finest.sh_degree, finest.compositing))
    return volume


def _unseen(family: list[FieldMetadata], fingerprint: str) -> list[FieldMetadata]:
    """The same files, under names from which Blender has read nothing else.

    Blender keeps the voxels of a path until it ends, also when the file is replaced. So a run that has overwritten
    files on show comes in through hard links (copies where the disk has none) in a folder beside it.
    """
    for volume in bpy.data.volumes:
        note_levels(volume)
    if not any(session.is_outdated(metadata.path, fingerprint) for metadata in family):
        return family
    folder = family[0].path.parent / f"{family[0].path.stem}-{fingerprint}"
    try:
        folder.mkdir(exist_ok=True)
        return [replace(metadata, path=_link(metadata.path, folder)) for metadata in family]
    except OSError as error:
        raise PlenoError(
            f"{family[0].path} was replaced while its older voxels are on show, and {folder} cannot be written "
            f"({error.strerror or error}).",
            "Save, start Blender again and import again.",
        ) from error


def note_levels(volume: bpy.types.Volume) -> None:
    """Tells the session which field the paths of this datablock stand for."""
    for level in levels_of(volume):
        session.note_field(level.path, volume.plenovdb.fingerprint)


def _link(source: Path, folder: Path) -> Path:
    target = folder / source.name
    if not target.exists():
        try:
            target.hardlink_to(source)
        except OSError:  # another disk, or a file system without links
            shutil.copy2(source, target)
    return target


def _warn(scene: bpy.types.Scene, finest: FieldMetadata) -> list[str]:
    warnings = []
    if 1 + (finest.sh_degree + 1) ** 2 > EEVEE_ATTRIBUTES:
        warnings.append(
            f"Degree {finest.sh_degree} has more grids than EEVEE can read ({EEVEE_ATTRIBUTES}): render it in Cycles."
        )
    if finest.dense_mb > DENSE_WARNING_MB:
        warnings.append(
            f"EEVEE would need about {finest.dense_mb / 1000:.1f} GB for it: choose a coarser level of detail there."
        )
    others = {user.data.plenovdb.compositing for user in scene.objects if isinstance(user.data, bpy.types.Volume)}
    if len(others & {"linear", "encoded"}) > 1:
        warnings.append("The scene has linear and encoded fields: one view transform cannot suit both.")
    return warnings
