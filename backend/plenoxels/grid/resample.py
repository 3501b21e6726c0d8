"""Sparse voxel sets and fields, moved between resolutions without dense buffers."""

from __future__ import annotations

import itertools

import torch

from plenoxels.grid.brick_map import RECORD_STRIDE, BrickMap
from plenoxels.grid.voxel_grid import VoxelGrid, brick_order_key

_CHUNK = 1 << 18


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
    corners = torch.tensor(list(itertools.product((0, 1), repeat=3)), dtype=coordinates.dtype, device=coordinates.device)
    return (2 * coordinates[:, None] + corners).reshape(-1, 3)


def lookup_rows(grid: VoxelGrid, bricks: BrickMap, coordinates: torch.Tensor) -> torch.Tensor:
    """Row of each voxel, int64 [M], the grid's number of voxels where inactive.

    Args:
        grid: the field.
        bricks: its bricks.
        coordinates: integers [M, 3], anywhere.
    """
    vertex = coordinates.long() - torch.tensor(bricks.offset, device=coordinates.device)
    brick, place = vertex >> 3, vertex & 7
    count = torch.tensor(bricks.brick_count, device=coordinates.device)
    inside = ((brick >= 0) & (brick < count)).all(1)
    brick = torch.where(inside[:, None], brick, torch.zeros_like(brick))
    record = bricks.bricks[(brick[:, 0] * count[1] + brick[:, 1]) * count[2] + brick[:, 2]].long().clamp(min=0)
    flat = record * RECORD_STRIDE + place[:, 0] * 81 + place[:, 1] * 9 + place[:, 2]
    rows = bricks.brick_rows.view(-1)[flat].long()
    return torch.where(inside, rows, torch.full_like(rows, grid.active_voxels))


def resample(source: VoxelGrid, resolution: tuple[int, int, int], coordinates: torch.Tensor) -> VoxelGrid:
    """The field on other voxels of the same bounds, interpolated trilinearly.

    Density counts missing neighbours as 0, as rendering does; harmonics are averaged over the neighbours there are, since a missing
    voxel has no colour.

    Args:
        source: the field.
        resolution: of the result.
        coordinates: integers [M, 3], the result's active voxels, no duplicates.
    """
    bricks = BrickMap.build(source)
    result = VoxelGrid(resolution, source.scene_bounds, source.sh_degree, device=source.device)
    ratio = torch.tensor([s / r for s, r in zip(source.resolution, resolution, strict=True)], device=source.device)
    density = source.layout.density
    rows = torch.empty(len(coordinates), source.layout.width, device=source.device)
    for start in range(0, len(coordinates), _CHUNK):
        part = coordinates[start : start + _CHUNK]
        position = (part + 0.5) * ratio - 0.5
        low = position.floor()
        fraction = position - low
        out = rows[start : start + _CHUNK].zero_()
        present = torch.zeros(len(part), device=source.device)
        for corner in itertools.product((0, 1), repeat=3):
            offset = torch.tensor(corner, device=source.device)
            weight = torch.where(offset.bool(), fraction, 1 - fraction).prod(1)
            found = lookup_rows(source, bricks, low.long() + offset)
            out.addcmul_(source.rows[found], weight[:, None])
            present += weight * (found < source.active_voxels)
        summed = out[:, density].clone()
        out /= present.clamp(min=1e-6)[:, None]
        out[:, density] = summed
    result.set_rows(coordinates, rows)
    return result
