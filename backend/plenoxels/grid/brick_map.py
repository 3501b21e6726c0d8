"""What rays march through: bricks of 8^3 cells over a sparse grid, their vertices' density close together."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F

from plenoxels.grid.memory import huge_page_zeros
from plenoxels.grid.voxel_grid import VoxelGrid

_RECORD = (81, 9, 1)  # strides of a 9^3 record
RECORD_STRIDE = 736  # floats per record: 9^3, padded to whole SIMD vectors
_MAX_DISTANCE = 15
_BLOCK = 1 << 20  # voxels that are looked at together, where temporary memory counts


@dataclass
class BrickMap:
    """Acceleration structure of one grid's active voxels; valid until the grid's voxels change.

    Vertex (0, 0, 0) is voxel `offset` of the grid. Bricks that hold any active corner of their cells have a record: the
    9^3 vertices around their 8^3 cells, so a cell never reaches into another record. Record 0 is empty and serves
    the rest.

    Attributes:
        offset: the grid index of vertex (0, 0, 0).
        brick_count: bricks along x, y, z.
        bricks: int32 [bx * by * bz]: record, or minus the Chebyshev distance in bricks to the nearest record.
        brick_rows: int32 [records, 736]: row of each vertex, the grid's number of voxels where inactive.
        brick_density: float32 [records, 736]: density of each vertex.
        row_positions: int32 [P]: flat places in the records of row 0, row 1, ...; the first of each row is in its
            own brick.
        row_position_start: int32 [N + 1]: where each row's places start.
        clip_min, clip_max: the box of all cells with an active corner, in vertices.
    """

    offset: tuple[int, int, int]
    brick_count: tuple[int, int, int]
    bricks: torch.Tensor
    brick_rows: torch.Tensor
    brick_density: torch.Tensor
    row_positions: torch.Tensor
    row_position_start: torch.Tensor
    clip_min: tuple[int, int, int]
    clip_max: tuple[int, int, int]

    @classmethod
    def build(cls, grid: VoxelGrid) -> BrickMap:
        """Builds the bricks of a grid (on its device)."""
        device, count = grid.device, grid.active_voxels
        coordinates = grid.coordinates.to(torch.int64)
        low, high, offset, bricks_along = _extent(coordinates)
        clip_min = [c - 1 - o for c, o in zip(low, offset, strict=True)]
        clip_max = [c + 1 - o for c, o in zip(high, offset, strict=True)]
        vertex = coordinates - torch.tensor(offset, device=device)
        brick, place = vertex >> 3, vertex & 7
        stride = torch.tensor([bricks_along[1] * bricks_along[2], bricks_along[2], 1], device=device)
        record_stride = torch.tensor(_RECORD, device=device)

        # A vertex on the low face of its brick is also on the high face of the brick before it, for each axis.
        owners: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []  # rows, brick keys, places
        for shift in itertools.product((0, 1), repeat=3):
            moved = torch.tensor(shift, device=device)
            rows = torch.nonzero(((place == 0) & (brick > 0) | (moved == 0)).all(1)).flatten()
            key = ((brick[rows] - moved) * stride).sum(1)
            owners.append((rows, key, ((place[rows] + 8 * moved) * record_stride).sum(1)))
        rows, keys, places = (torch.cat(parts) for parts in zip(*owners, strict=True))
        used, record = torch.unique(keys, return_inverse=True)
        positions = (record + 1) * RECORD_STRIDE + places

        table = torch.zeros(bricks_along, dtype=torch.int32, device=device)
        table.view(-1)[used] = torch.arange(1, len(used) + 1, dtype=torch.int32, device=device)
        _fill_distances(table)
        brick_rows = huge_page_zeros(((len(used) + 1) * RECORD_STRIDE,), device, torch.int32)
        brick_rows.fill_(count)
        brick_rows[positions] = rows.to(torch.int32)
        by_row = torch.argsort(rows, stable=True)  # stable: the unshifted place, in the row's own brick, stays first
        start = torch.zeros(count + 1, dtype=torch.int32, device=device)
        start[1:] = torch.cumsum(torch.bincount(rows, minlength=count), 0)[:count]
        built = cls(
            offset=(offset[0], offset[1], offset[2]),
            brick_count=(bricks_along[0], bricks_along[1], bricks_along[2]),
            bricks=table.view(-1),
            brick_rows=brick_rows.view(-1, RECORD_STRIDE),
            brick_density=huge_page_zeros((len(used) + 1, RECORD_STRIDE), device),
            row_positions=positions[by_row].to(torch.int32),
            row_position_start=start,
            clip_min=(clip_min[0], clip_min[1], clip_min[2]),
            clip_max=(clip_max[0], clip_max[1], clip_max[2]),
        )
        built.refresh_density(grid)
        return built

    def refresh_density(self, grid: VoxelGrid) -> None:
        """Copies the grid's densities into the records (after rows were changed outside the kernels)."""
        # index_select takes 32-bit rows as they are; others would need a 64-bit copy of them.
        density = grid.rows.detach()[:, grid.layout.density].contiguous()
        torch.index_select(density, 0, self.brick_rows.view(-1), out=self.brick_density.view(-1))


@dataclass(frozen=True)
class BrickCounts:
    """How large the bricks of some voxels are, without building them.

    Attributes:
        voxels: active voxels.
        cells: bricks in their bounding box, empty ones included.
        records: bricks with a record, and the empty record.
        places: places in the records that hold an active voxel.
    """

    voxels: int
    cells: int
    records: int
    places: int

    @classmethod
    def of(cls, coordinates: torch.Tensor) -> BrickCounts:
        """Counts for voxels with integer coordinates [N, 3], no duplicates, in any order."""
        _, _, offset, bricks_along = _extent(coordinates)
        used = torch.zeros(prod(bricks_along), dtype=torch.bool, device=coordinates.device)
        stride = (bricks_along[1] * bricks_along[2], bricks_along[2], 1)
        places = len(coordinates)
        for part in torch.split(coordinates, _BLOCK):
            x, y, z = (column - o for column, o in zip(part.unbind(1), offset, strict=True))
            brick = (x >> 3) * stride[0] + (y >> 3) * stride[1] + (z >> 3) * stride[2]
            used.index_fill_(0, brick.long(), True)
            on_face = [(x & 7) == 0, (y & 7) == 0, (z & 7) == 0]
            for axes in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
                shared = brick[torch.stack([on_face[axis] for axis in axes]).all(0)].long()
                used.index_fill_(0, shared - sum(stride[axis] for axis in axes), True)
                places += len(shared)
        return cls(len(coordinates), used.numel(), int(used.sum()) + 1, places)

    @classmethod
    def of_box(cls, resolution: tuple[int, int, int]) -> BrickCounts:
        """Counts for all voxels of a grid."""
        bricks = prod(r // 8 + 2 for r in resolution)
        return cls(prod(resolution), bricks, bricks + 1, prod(r + r // 8 + 1 for r in resolution))


def _extent(coordinates: torch.Tensor) -> tuple[list[int], list[int], list[int], list[int]]:
    """Least and greatest coordinates of voxels [N, 3]; the bricks' offset; bricks along x, y, z."""
    low, high = [0, 0, 0], [0, 0, 0]
    if len(coordinates):
        low, high = coordinates.amin(0).tolist(), coordinates.amax(0).tolist()
    offset = [8 * ((c - 1) // 8) for c in low]
    return low, high, offset, [(c + 1 - o + 8) // 8 for c, o in zip(high, offset, strict=True)]


def _fill_distances(table: torch.Tensor) -> None:
    """Writes minus the distance to the nearest record into the empty bricks of `table` [bx, by, bz], in place."""
    reached = (table > 0).to(torch.float32)[None, None]
    for distance in range(1, _MAX_DISTANCE + 1):
        grown = F.max_pool3d(reached, 3, stride=1, padding=1)
        table[(grown[0, 0] > 0) & (reached[0, 0] == 0)] = -distance
        reached = grown
    table[table == 0] = -_MAX_DISTANCE - 1
