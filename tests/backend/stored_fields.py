"""Small random fields with everything that storage must keep."""

from __future__ import annotations

import torch
from plenoxels.config import Compositing, PlenoxelConfig
from plenoxels.grid import VoxelGrid
from plenoxels.neuralvdb import FieldMetadata, TrainingRecord

BOUNDS = (-1.5, 2.0, -30.0, 0.5, 2.25, 41.0)


def make_grid(seed: int, resolution=(19, 13, 22), degree: int = 2, occupancy: float = 0.3) -> VoxelGrid:
    """Random voxels with negative densities, zeros, and voxels that are zero altogether."""
    generator = torch.Generator().manual_seed(seed)
    coordinates = torch.nonzero(torch.rand(resolution, generator=generator) < occupancy)
    count = len(coordinates)
    if not count:
        return VoxelGrid(resolution, BOUNDS, degree)
    density = torch.randn(count, generator=generator) * 30
    sh = torch.randn(count, (degree + 1) ** 2, 3, generator=generator)
    density[::5] = 0
    sh[::3] = 0
    return VoxelGrid.from_voxels(resolution, BOUNDS, coordinates, density, sh)


def metadata_of(grid: VoxelGrid) -> FieldMetadata:
    record = TrainingRecord(1200, 58.5, "chäir", 31.25)
    return FieldMetadata.of(grid, PlenoxelConfig(background=(0.5, 0.25, 1.0), compositing=Compositing.ENCODED), record)
