"""Sets of voxels: made distinct, grown, refined, without dense buffers."""

from __future__ import annotations

import itertools

import torch

from plenoxels.grid.voxel_grid import brick_order_key


def unique_coordinates(coordinates: torch.Tensor) -> torch.Tensor:
    """The distinct rows of integer coordinates [N, 3] (from 0 up), in brick order."""
    keys, order = torch.sort(brick_order_key(coordinates))
    first = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
    first[1:] = keys[1:] != keys[:-1]
    return coordinates[order[first]]


def dilate(coordinates: torch.Tensor, resolution: tuple[int, int, int]) -> torch.Tensor:
    """The voxels [M, 3] whose 26 neighbours or themselves are in `coordinates` [N, 3], inside the resolution."""
    for axis in range(3):
        step = torch.eye(3, dtype=coordinates.dtype, device=coordinates.device)[axis]
        moved = torch.cat([coordinates, coordinates - step, coordinates + step])
        inside = (moved[:, axis] >= 0) & (moved[:, axis] < resolution[axis])
        coordinates = unique_coordinates(moved[inside])
    return coordinates


def children(coordinates: torch.Tensor) -> torch.Tensor:
    """The eight voxels of twice the resolution inside each voxel: [8 N, 3] from [N, 3]."""
    corners = torch.tensor(
        list(itertools.product((0, 1), repeat=3)), dtype=coordinates.dtype, device=coordinates.device
    )
    return (2 * coordinates[:, None] + corners).reshape(-1, 3)
