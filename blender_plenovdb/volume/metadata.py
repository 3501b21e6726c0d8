"""What a .vdb of the VDB contract says about itself. Imports no bpy; `openvdb` comes with Blender."""

from __future__ import annotations

import hashlib
import importlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import PlenoError
from ..jobs import checked
from ..jobs.checked import Invalid

FORMAT_VERSION = 1
METADATA_KEY = "plenoxel"
METADATA_LIMIT = 1024 * 1024
"""Bytes of JSON that are parsed at most."""

MAX_RESOLUTION = 4096
COMPOSITING = ("linear", "encoded")


@dataclass(frozen=True)
class FieldMetadata:
    """One level of detail of one field, checked. Lengths in world units; background sRGB-encoded; sizes in MB."""

    path: Path
    resolution: tuple[int, int, int]
    scene_bounds: tuple[float, ...]
    sh_degree: int
    compositing: str
    lod_level: int
    background: tuple[float, ...]
    dataset: str
    held_out_psnr: float | None
    generator: str
    active_box: tuple[int, int, int]
    sparse_mb: float
    text: str

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        low, high = self.scene_bounds[:3], self.scene_bounds[3:]
        x, y, z = ((b - a) / n for a, b, n in zip(low, high, self.resolution, strict=True))
        return x, y, z

    @property
    def dense_mb(self) -> float:
        """Memory of EEVEE's dense textures: half floats, one channel for the density, four for each sh_k."""
        return math.prod(self.active_box) * (1 + 4 * (self.sh_degree + 1) ** 2) * 2 / 1e6

    @property
    def family(self) -> tuple[Any, ...]:
        """What all levels of one field have in common."""
        return self.sh_degree, self.compositing, self.scene_bounds, self.background, self.dataset

    def fingerprint(self) -> str:
        """Tells this file from another one that later stands under the same name."""
        stat = self.path.stat()
        return hashlib.sha256(f"{stat.st_size} {stat.st_mtime_ns} {self.text}".encode()).hexdigest()[:16]


def read_metadata(path: Path) -> FieldMetadata:
    """Reads and checks the metadata of one file; its voxels stay on the disk.

    Raises PlenoError for a missing, damaged or foreign file, and one of a newer format.
    """
    if not path.is_file():
        raise PlenoError(f"The file {path} does not exist.", "Choose a field.vdb, or import from its job.")
    openvdb = _openvdb()
    try:
        entries: Mapping[str, Any] = openvdb.readMetadata(str(path))
        grids: list[Any] = openvdb.readAllGridMetadata(str(path))
    except Exception as error:  # what openvdb raises for garbage differs between its versions
        raise PlenoError(
            f"The file {path} is no readable OpenVDB file.", "It may be damaged or unfinished; export it again."
        ) from error
    text = entries.get(METADATA_KEY)
    if not isinstance(text, str):
        raise PlenoError(
            f"The file {path} is an OpenVDB file without a radiance field: it has no {METADATA_KEY!r} metadata.",
            "Choose a field that PlenoVDB trained; other volumes come in through Add > Volume.",
        )
    try:
        if len(text.encode()) > METADATA_LIMIT:
            raise Invalid("has more than 1 MiB of metadata")
        return _parse(path, text, grids)
    except Invalid as error:
        raise PlenoError(
            f"The file {path} {error}.", "It was not written by a trainer this extension understands."
        ) from error


def level_paths(path: Path) -> list[Path]:
    """The files of the family that `path` belongs to, finest first: NAME.vdb, NAME_lod1.vdb, ..."""
    stem = re.sub(r"_lod\d{1,2}$", "", path.stem)
    paths = [path.with_name(f"{stem}.vdb")] + [path.with_name(f"{stem}_lod{n}.vdb") for n in range(1, 32)]
    found = [candidate for candidate in paths if candidate.is_file()]
    return found if path in found else [path]


def _openvdb() -> Any:
    try:
        return importlib.import_module("openvdb")
    except ImportError as error:
        raise PlenoError(
            "This Blender has no openvdb module for Python.", "Use Blender 4.5 LTS or later from blender.org."
        ) from error


def _parse(path: Path, text: str, grids: list[Any]) -> FieldMetadata:
    values = checked.parse_object(text)
    version = checked.integer(values, "format_version", 1, 10**6)
    if version > FORMAT_VERSION:
        raise Invalid(f"has format version {version}; this extension knows {FORMAT_VERSION}, so update it")
    resolution = checked.numbers(values, "resolution", 3)
    if not all(n == int(n) and 1 <= n <= MAX_RESOLUTION for n in resolution):
        raise Invalid(f"has a resolution outside 1 to {MAX_RESOLUTION}")
    bounds = checked.numbers(values, "scene_bounds", 6)
    if not all(low < high for low, high in zip(bounds[:3], bounds[3:], strict=True)):
        raise Invalid("has empty scene_bounds")
    degree = checked.integer(values, "sh_degree", 0, 3)
    training = checked.mapping(values, "training")
    box, memory = _check_grids(grids, degree, resolution, bounds)
    return FieldMetadata(
        path=path,
        resolution=(int(resolution[0]), int(resolution[1]), int(resolution[2])),
        scene_bounds=bounds,
        sh_degree=degree,
        compositing=checked.choice(values, "compositing", COMPOSITING),
        lod_level=checked.integer(values, "lod_level", 0, 31),
        background=checked.numbers(values, "background", 3),
        dataset=checked.text(training, "dataset", ""),
        held_out_psnr=checked.optional_number(training, "held_out_psnr"),
        generator=checked.text(values, "generator", ""),
        active_box=box,
        sparse_mb=memory,
        text=text,
    )


def _check_grids(
    grids: list[Any], degree: int, resolution: tuple[float, ...], bounds: tuple[float, ...]
) -> tuple[tuple[int, int, int], float]:
    """Whether the grids are those that the metadata promises; the box of active voxels and the memory in MB."""
    named = {grid.name: grid for grid in grids}
    expected = {"density": "float"} | {f"sh_{k}": "vec3s" for k in range((degree + 1) ** 2)}
    for name, kind in expected.items():
        if name not in named:
            raise Invalid(f"has no grid {name}, which degree {degree} needs")
        if named[name].valueTypeName != kind:
            raise Invalid(f"has {named[name].valueTypeName} values in grid {name} instead of {kind}")
    for axis, size in enumerate(named["density"].transform.voxelSize()):
        promised = (bounds[axis + 3] - bounds[axis]) / resolution[axis]
        if not math.isclose(size, promised, rel_tol=1e-3):
            raise Invalid(f"has voxels of {size:g} along axis {axis}, but its metadata says {promised:g}")
    low, high = (_triple(named["density"], key) for key in ("file_bbox_min", "file_bbox_max"))
    box = (1, 1, 1)
    if low is not None and high is not None:
        sizes = [max(0, min(b - a + 1, MAX_RESOLUTION)) for a, b in zip(low, high, strict=True)]
        box = (sizes[0], sizes[1], sizes[2])
    memory = sum(_bytes(named[name]) for name in expected) / 1e6
    return box, memory


def _triple(grid: Any, key: str) -> tuple[int, int, int] | None:
    value = grid.metadata.get(key)
    if isinstance(value, tuple | list) and len(value) == 3 and all(isinstance(n, int) for n in value):
        return value[0], value[1], value[2]
    return None


def _bytes(grid: Any) -> int:
    value = grid.metadata.get("file_mem_bytes")
    return value if isinstance(value, int) and value > 0 else 0
