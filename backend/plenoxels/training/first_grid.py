"""The coarse grid that a training starts from: bounds, resolution, and the voxels that may belong to the scene."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from plenoxels.config import PlenoxelConfig
from plenoxels.datasets import Dataset
from plenoxels.errors import DatasetInvalid, OutOfMemory
from plenoxels.grid import BrickCounts, VoxelGrid
from plenoxels.grid.memory import huge_page_zeros
from plenoxels.training.carving import Silhouettes, camera_bounds, cubic_voxels
from plenoxels.training.memory import MemoryBudget, StageMemory
from plenoxels.training.recipe import Recipe

_BLOCK = 1 << 20
_MOST_DENSE = 256**3


def first_grid(
    dataset: Dataset,
    silhouettes: Silhouettes | None,
    config: PlenoxelConfig,
    recipe: Recipe,
    budget: MemoryBudget,
) -> VoxelGrid:
    """A thin grey field: the visual hull where silhouettes are known, else everything that the cameras look at.

    Raises:
        DatasetInvalid: the silhouettes leave nothing.
        OutOfMemory: a stage of that grid does not fit into the budget, or needs more than 256^3 voxels in a full box.
    """
    cube = torch.tensor(camera_bounds(dataset.train), dtype=torch.float64)
    low, high = cube[:3], cube[3:]
    edge = _final_edge(dataset, ((low + high) / 2).numpy(), recipe)
    divisor = 2 ** (recipe.stages - 1)
    if silhouettes is None:
        coarse = _coarse(low, high, edge, recipe, divisor, config.sh_degree)
        box = BrickCounts.of_box(coarse.resolution)
        wanted = StageMemory.of(box, config.sh_degree)
        if box.voxels > _MOST_DENSE:
            raise OutOfMemory(
                f"Without silhouettes a training starts with all voxels of its first grid, and those of "
                f"{'x'.join(map(str, coarse.resolution))} are too many.",
                "Raise stages, or lower max_resolution.",
            )
        budget.check(wanted, coarse.resolution)
        return _thin(coarse, torch.cat(list(_box(coarse.resolution))), recipe.initial_depth_open)
    rough = VoxelGrid((recipe.hull_resolution,) * 3, tuple(cube.tolist()), 0)
    inside = silhouettes.carve_voxels(rough, _box(rough.resolution), recipe.hull_slack)
    if not len(inside):
        raise DatasetInvalid(
            f"The silhouettes in {dataset.folder} have no point of space in common.",
            "Check the camera poses, or train with --set use_alpha=false.",
        )
    hull, margin = rough.world_positions(inside).double(), max(rough.voxel_size)
    coarse = _coarse(hull.amin(0) - margin, hull.amax(0) + margin, edge, recipe, divisor, config.sh_degree)
    kept = silhouettes.carve_voxels(coarse, _box(coarse.resolution), recipe.hull_slack)
    budget.check(StageMemory.of(BrickCounts.of(kept), config.sh_degree), coarse.resolution)
    return _thin(coarse, kept, recipe.initial_depth)


def _box(resolution: tuple[int, int, int]) -> Iterator[torch.Tensor]:
    """Every voxel of a grid, int32 [n, 3], some slices along x at a time: never all of a fine one at once."""
    x, y, z = resolution
    slices = max(1, _BLOCK // (y * z))
    across = torch.cartesian_prod(torch.arange(y, dtype=torch.int32), torch.arange(z, dtype=torch.int32))
    for first in range(0, x, slices):
        along = torch.arange(first, min(x, first + slices), dtype=torch.int32)
        yield torch.cat([along.repeat_interleave(len(across))[:, None], across.repeat(len(along), 1)], 1)


def _final_edge(dataset: Dataset, centre: np.ndarray[tuple[int], np.dtype[np.float64]], recipe: Recipe) -> float:
    """Edge of the final voxels in world units: as fine as the photos can tell where the object stands."""
    footprints = [np.linalg.norm(view.position - centre) / view.intrinsics.fl_x for view in dataset.train]
    return float(np.median(footprints)) * recipe.voxel_pixels


def _coarse(
    low: torch.Tensor, high: torch.Tensor, edge: float, recipe: Recipe, divisor: int, sh_degree: int
) -> VoxelGrid:
    """The first stage's grid, without voxels yet, in bounds that the last stage's voxels fill exactly."""
    edge = max(edge, float((high - low).max()) / recipe.max_resolution)
    (x, y, z), bounds = cubic_voxels(low, high, edge, divisor)
    return VoxelGrid((x // divisor, y // divisor, z // divisor), bounds, sh_degree)


def _thin(grid: VoxelGrid, kept: torch.Tensor, voxel_depth: float) -> VoxelGrid:
    """The grid with grey voxels at int32 [N, 3]; `voxel_depth` is a voxel's optical depth."""
    rows = huge_page_zeros((len(kept), grid.layout.width))
    rows[:, grid.layout.density] = voxel_depth / min(grid.voxel_size)
    grid.set_rows(kept, rows)
    return grid
