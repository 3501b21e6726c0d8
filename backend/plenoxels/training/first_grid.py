"""The coarse grid that a training starts from: bounds, resolution, and the voxels that may belong to the scene."""

from __future__ import annotations

import numpy as np
import torch

from plenoxels.config import PlenoxelConfig
from plenoxels.datasets import Dataset
from plenoxels.errors import DatasetInvalid
from plenoxels.grid import VoxelGrid
from plenoxels.training.carving import Silhouettes, camera_bounds, cubic_voxels
from plenoxels.training.recipe import Recipe


def first_grid(
    dataset: Dataset,
    silhouettes: Silhouettes | None,
    config: PlenoxelConfig,
    recipe: Recipe,
) -> VoxelGrid:
    """A thin grey field: the visual hull where silhouettes are known, else everything that the cameras look at.

    Raises:
        DatasetInvalid: the silhouettes leave nothing.
    """
    cube = torch.tensor(camera_bounds(dataset.train), dtype=torch.float64)
    low, high = cube[:3], cube[3:]
    edge = _final_edge(dataset, ((low + high) / 2).numpy(), recipe)
    divisor = 2 ** (recipe.stages - 1)
    if silhouettes is None:
        coarse = _coarse(low, high, edge, recipe, divisor)
        return _thin(coarse, torch.ones(coarse.active_voxels, dtype=torch.bool), config, recipe.initial_depth_open)
    rough = _full_grid((recipe.hull_resolution,) * 3, tuple(cube.tolist()))
    inside = silhouettes.carve(rough.world_positions(), recipe.hull_slack * max(rough.voxel_size))
    if not bool(inside.any()):
        raise DatasetInvalid(
            f"The silhouettes in {dataset.folder} have no point of space in common.",
            "Check the camera poses, or train with --set use_alpha=false.",
        )
    hull, margin = rough.world_positions()[inside].double(), max(rough.voxel_size)
    coarse = _coarse(hull.amin(0) - margin, hull.amax(0) + margin, edge, recipe, divisor)
    kept = silhouettes.carve(coarse.world_positions(), recipe.hull_slack * max(coarse.voxel_size))
    return _thin(coarse, kept, config, recipe.initial_depth)


def dense_coordinates(resolution: tuple[int, int, int]) -> torch.Tensor:
    """Every voxel of a grid, int64 [N, 3]."""
    axes = [torch.arange(r) for r in resolution]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def _final_edge(dataset: Dataset, centre: np.ndarray[tuple[int], np.dtype[np.float64]], recipe: Recipe) -> float:
    """Edge of the final voxels in world units: as fine as the photos can tell where the object stands."""
    footprints = [np.linalg.norm(view.position - centre) / view.intrinsics.fl_x for view in dataset.train]
    return float(np.median(footprints)) * recipe.voxel_pixels


def _coarse(low: torch.Tensor, high: torch.Tensor, edge: float, recipe: Recipe, divisor: int) -> VoxelGrid:
    """The first stage's grid, all voxels active, in bounds that the last stage's voxels fill exactly."""
    edge = max(edge, float((high - low).max()) / recipe.max_resolution)
    (x, y, z), bounds = cubic_voxels(low, high, edge, divisor)
    return _full_grid((x // divisor, y // divisor, z // divisor), bounds)


def _full_grid(resolution: tuple[int, int, int], bounds: tuple[float, ...]) -> VoxelGrid:
    grid = VoxelGrid(resolution, bounds, 0)
    coordinates = dense_coordinates(resolution)
    grid.set_rows(coordinates, torch.zeros(len(coordinates), grid.layout.width))
    return grid


def _thin(coarse: VoxelGrid, kept: torch.Tensor, config: PlenoxelConfig, voxel_depth: float) -> VoxelGrid:
    """A grey field of the kept voxels (bool [N]); `voxel_depth` is a voxel's optical depth."""
    grid = VoxelGrid(coarse.resolution, coarse.scene_bounds, config.sh_degree)
    rows = torch.zeros(int(kept.sum()), grid.layout.width)
    rows[:, grid.layout.density] = voxel_depth / min(grid.voxel_size)
    grid.set_rows(coarse.coordinates[kept], rows)
    return grid
