"""Small random fields and rays for tests."""

from __future__ import annotations

import torch
from plenoxels.config import Compositing
from plenoxels.grid import VoxelGrid
from plenoxels.kernels import MarchSettings, RayBatch


def random_grid(
    degree: int,
    resolution: tuple[int, int, int] = (19, 13, 22),
    bounds: tuple[float, ...] = (-1.2, -0.5, 0.3, 0.7, 0.9, 2.1),
    occupancy: float = 0.4,
    seed: int = 0,
    mean_density: float = 1.5,
) -> VoxelGrid:
    """Active voxels at random (some densities negative), anisotropic voxels, bounds off the origin."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(resolution, generator=generator) < occupancy
    coordinates = torch.nonzero(chosen)
    n = len(coordinates)
    density = torch.randn(n, generator=generator) * 2 + mean_density
    sh = torch.randn(n, (degree + 1) ** 2, 3, generator=generator) * 0.4
    sh[:, 0] += 0.6
    return VoxelGrid.from_voxels(resolution, bounds, coordinates, density, sh)


def random_rays(grid: VoxelGrid, count: int, seed: int = 0, jitter: bool = False) -> RayBatch:
    """Rays from all around through the bounds, some along the axes, some that start inside, some that miss."""
    generator = torch.Generator().manual_seed(seed)
    b = torch.tensor(grid.scene_bounds)
    centre, extent = (b[:3] + b[3:]) / 2, b[3:] - b[:3]
    origins = centre + 2 * extent.norm() * torch.nn.functional.normalize(
        torch.randn(count, 3, generator=generator), dim=1
    )
    aims = b[:3] + extent * (1.4 * torch.rand(count, 3, generator=generator) - 0.2)
    directions = torch.nn.functional.normalize(aims - origins, dim=1)
    origins[: count // 8] = b[:3] + extent * torch.rand(count // 8, 3, generator=generator)
    for axis in range(3):
        directions[axis] = torch.eye(3)[axis]
        origins[axis] = centre - 2 * extent * torch.eye(3)[axis]
    return RayBatch(
        origins.contiguous(), directions.contiguous(), torch.rand(count, generator=generator) if jitter else None
    )


def exact_settings(
    grid: VoxelGrid,
    compositing: Compositing,
    step_fraction: float = 0.5,
    background: tuple[float, float, float] = (1.0, 0.6, 0.2),
) -> MarchSettings:
    """Settings without thresholds, as the reference renders."""
    return MarchSettings(step_fraction * min(grid.voxel_size), 0.0, 0.0, background, compositing)
