"""Levels of detail: the same field at half the resolution, and half of that."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from plenoxels.grid import VoxelGrid
from plenoxels.neuralvdb.metadata import FieldMetadata
from plenoxels.neuralvdb.vdb_writer import write_field

MAX_LEVELS = 8


def coarser(grid: VoxelGrid) -> VoxelGrid:
    """The field at half the resolution: every voxel stands for 2 x 2 x 2 finer ones.

    An odd number of voxels is rounded up and the bounds grow by one fine voxel at their upper end, so that the new
    voxels are exactly twice the old ones and every position keeps its place in the world.

    Density is the mean of max(0, density) over the 8 (inactive ones count 0), so that as much light is absorbed along
    any axis; where all are 0 or below, the plain mean, which keeps the surface sharp. Harmonics are the mean weighted
    by density: what is not seen does not colour what is.

    Args:
        grid: any field; it is left as it is.

    Returns:
        A new grid on the same device.
    """
    coordinates = grid.coordinates.to(torch.int64)
    resolution = [math.ceil(r / 2) for r in grid.resolution]
    size, low = grid.voxel_size, grid.scene_bounds[:3]
    # An even axis keeps its bounds to the last bit.
    high = [
        b if r % 2 == 0 else a + 2 * h * n
        for a, b, h, r, n in zip(low, grid.scene_bounds[3:], size, grid.resolution, resolution, strict=True)
    ]
    result = VoxelGrid(resolution, (*low, *high), grid.sh_degree, device=grid.device)
    if not len(coordinates):
        return result
    parents, child = _parents(coordinates)
    count = len(parents)
    density, sh = grid.density, grid.sh.flatten(1)
    positive = density.clamp(min=0)
    mass = torch.zeros(count, device=grid.device).index_add_(0, child, positive)
    plain = torch.zeros(count, device=grid.device).index_add_(0, child, density)
    members = torch.zeros(count, device=grid.device).index_add_(0, child, torch.ones_like(density))
    # A parent without mass weighs its children alike.
    weight = torch.where(mass[child] > 0, positive / mass[child].clamp(min=1e-30), 1 / members[child])
    mean_sh = torch.zeros(count, sh.shape[1], device=grid.device).index_add_(0, child, sh * weight[:, None])
    rows = result.layout.pack(
        torch.where(mass > 0, mass, plain) / 8, mean_sh.reshape(count, result.layout.coefficients, 3)
    )
    result.set_rows(parents, rows)
    return result


def write_levels(
    path: Path | str, grid: VoxelGrid, metadata: FieldMetadata, levels: int, half_precision: bool = True
) -> list[Path]:
    """Writes NAME_lod1.vdb, NAME_lod2.vdb, ... beside NAME.vdb, each atomically; older ones of higher levels go.

    Args:
        path: NAME.vdb, the finest level, which is not written here.
        grid: the finest level's field.
        metadata: of the finest level.
        levels: how many; fewer are written where a single voxel is reached.
        half_precision: as for `write_field`.

    Returns:
        The files, finest first.

    Raises:
        ValueError: `levels` is out of range.
        DiskFull, NotWritable: the disk refused.
    """
    path = Path(path)
    if not 0 <= levels <= MAX_LEVELS:
        raise ValueError(f"{levels} levels of detail were asked for; there can be 0 to {MAX_LEVELS}.")
    files = []
    for level in range(1, levels + 1):
        if max(grid.resolution) == 1:
            break
        grid = coarser(grid)
        file = level_path(path, level)
        write_field(file, grid, metadata.for_level(grid, metadata.lod_level + level), half_precision)
        files.append(file)
    for level in range(len(files) + 1, MAX_LEVELS + 1):
        level_path(path, level).unlink(missing_ok=True)
    return files


def level_path(path: Path, level: int) -> Path:
    """The file of a level of detail of NAME.vdb; level 0 is the file itself."""
    return path.with_name(f"{path.stem}_lod{level}{path.suffix}") if level else path


def _parents(coordinates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The coarser voxels int64 [M, 3] of finer ones [N, 3], and each finer one's place among them, int64 [N]."""
    halves = coordinates >> 1
    key = (halves[:, 0] << 42) | (halves[:, 1] << 21) | halves[:, 2]
    unique, child = torch.unique(key, return_inverse=True)
    mask = (1 << 21) - 1
    return torch.stack([unique >> 42, (unique >> 21) & mask, unique & mask], dim=1), child
