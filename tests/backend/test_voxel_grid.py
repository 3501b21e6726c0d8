"""The grid, its rows, its bricks and sets of voxels, against brute force."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plenoxels.grid import BrickMap, RowLayout, VoxelGrid
from plenoxels.grid.brick_map import RECORD_STRIDE
from plenoxels.grid.voxel_sets import children, dilate, unique_coordinates
from random_fields import random_grid

voxel_sets = st.lists(st.tuples(*[st.integers(0, 20)] * 3), min_size=1, max_size=60, unique=True)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_rows_hold_density_and_harmonics_and_nothing_else(degree):
    layout = RowLayout(degree)
    density, sh = torch.rand(5) + 1, torch.rand(5, (degree + 1) ** 2, 3) + 1
    rows = layout.pack(density, sh)
    assert rows.shape == (5, layout.width)
    assert layout.width % 4 == 0
    torch.testing.assert_close(rows[:, layout.density], density)
    torch.testing.assert_close(layout.unpack_sh(rows), sh)
    assert int((rows[0] != 0).sum()) == 1 + 3 * (degree + 1) ** 2


def test_positions_follow_the_contract():
    grid = VoxelGrid.from_voxels(
        (4, 2, 8), (-1, 0, 2, 1, 1, 4), torch.tensor([[3, 1, 0]]), torch.ones(1), torch.ones(1, 4, 3)
    )
    assert grid.voxel_size == (0.5, 0.5, 0.25)
    assert grid.origin == (-0.75, 0.25, 2.125)
    torch.testing.assert_close(grid.world_positions(), torch.tensor([[0.75, 0.75, 2.125]]))
    assert grid.sh_degree == 1
    assert grid.active_voxels == 1


@given(voxel_sets)
@settings(max_examples=50, deadline=None)
def test_rows_are_in_brick_order_whatever_order_they_came_in(voxels):
    coordinates = torch.tensor(voxels)
    density = torch.arange(len(voxels), dtype=torch.float32) + 1
    grid = VoxelGrid.from_voxels((21, 21, 21), (0, 0, 0, 1, 1, 1), coordinates, density, torch.zeros(len(voxels), 1, 3))
    given_density = {tuple(c): float(d) for c, d in zip(voxels, density, strict=True)}
    assert {tuple(c): float(d) for c, d in zip(grid.coordinates.tolist(), grid.density, strict=True)} == given_density
    keys = [([v >> 3 for v in c], [v & 7 for v in c]) for c in grid.coordinates.tolist()]
    assert keys == sorted(keys)


def test_wrong_voxels_are_refused():
    one, sh = torch.ones(1), torch.zeros(1, 4, 3)
    for coordinates, message in (([[4, 0, 0]], "outside"), ([[-1, 0, 0]], "outside")):
        with pytest.raises(ValueError, match=message):
            VoxelGrid.from_voxels((4, 4, 4), (0, 0, 0, 1, 1, 1), torch.tensor(coordinates), one, sh)
    twice = torch.tensor([[1, 1, 1], [1, 1, 1]])
    with pytest.raises(ValueError, match="repeat"):
        VoxelGrid.from_voxels((4, 4, 4), (0, 0, 0, 1, 1, 1), twice, torch.ones(2), torch.zeros(2, 4, 3))
    with pytest.raises(ValueError, match="shape"):
        VoxelGrid.from_voxels((4, 4, 4), (0, 0, 0, 1, 1, 1), torch.tensor([[1, 1, 1]]), one, torch.zeros(1, 5, 3))
    with pytest.raises(ValueError, match="same voxels"):
        VoxelGrid.from_voxels((4, 4, 4), (0, 0, 0, 1, 1, 1), torch.tensor([[1, 1, 1]]), torch.ones(2), sh)
    for resolution, bounds in (
        ((0, 4, 4), (0, 0, 0, 1, 1, 1)),
        ((4, 4, 4), (0, 0, 0, 1, 0, 1)),
        ((4, 4, 9999), (0,) * 6),
    ):
        with pytest.raises(ValueError, match=r"must"):
            VoxelGrid(resolution, bounds)
    with pytest.raises(ValueError, match="finite"):
        VoxelGrid((4, 4, 4), (0, 0, 0, 1, float("nan"), 1))
    with pytest.raises(ValueError, match="degree"):
        VoxelGrid((4, 4, 4), (0, 0, 0, 1, 1, 1), sh_degree=4)


@given(voxel_sets)
@settings(max_examples=30, deadline=None)
def test_dilation_and_children_agree_with_sets(voxels):
    resolution = (21, 18, 21)
    voxels = [v for v in voxels if v[1] < 18] or [(0, 0, 0)]
    steps = list(itertools.product((-1, 0, 1), repeat=3))
    moved = {tuple(a + b for a, b in zip(v, step, strict=True)) for v in voxels for step in steps}
    grown = {m for m in moved if all(0 <= c < r for c, r in zip(m, resolution, strict=True))}
    result = dilate(torch.tensor(voxels), resolution).tolist()
    assert len(result) == len(grown)
    assert {tuple(c) for c in result} == grown
    fine = children(torch.tensor(voxels)).tolist()
    assert len({tuple(c) for c in fine}) == 8 * len(voxels)
    assert {tuple(c // 2 for c in f) for f in fine} == set(voxels)
    doubled = torch.tensor(voxels + voxels)
    assert {tuple(c) for c in unique_coordinates(doubled).tolist()} == set(voxels)
    assert len(unique_coordinates(doubled)) == len(voxels)


@pytest.mark.parametrize("low", [0, 1, 7, 8, 30])
def test_bricks_hold_every_corner_of_every_cell(low):
    base = random_grid(0, resolution=(12, 17, 9), occupancy=0.15, seed=low)
    grid = VoxelGrid.from_voxels((64, 64, 64), (0, 0, 0, 1, 1, 1), base.coordinates.long() + low, base.density, base.sh)
    bricks = BrickMap.build(grid)
    rows = {tuple(c): i for i, c in enumerate(grid.coordinates.tolist())}
    table = bricks.bricks.reshape(bricks.brick_count)
    records = bricks.brick_rows.view(-1, RECORD_STRIDE)
    cells = [range(a, b) for a, b in zip(bricks.clip_min, bricks.clip_max, strict=True)]
    seen = set()
    for cell in itertools.product(*cells):
        record = int(table[tuple(c >> 3 for c in cell)])
        for corner in itertools.product((0, 1), repeat=3):
            vertex = tuple(c + k + o for c, k, o in zip(cell, corner, bricks.offset, strict=True))
            expected = rows.get(vertex, grid.active_voxels)
            if record <= 0:
                assert expected == grid.active_voxels, f"{vertex} is active but its brick has no record"
                continue
            place = [(c & 7) + k for c, k in zip(cell, corner, strict=True)]
            found = int(records[record, place[0] * 81 + place[1] * 9 + place[2]])
            assert found == expected
            seen.add(found)
    assert seen >= set(range(grid.active_voxels))
    for row in range(grid.active_voxels):
        places = bricks.row_positions[bricks.row_position_start[row] : bricks.row_position_start[row + 1]].long()
        assert bool((bricks.brick_rows.view(-1)[places] == row).all())
        assert bool((bricks.brick_density.view(-1)[places] == grid.density[row]).all())
        home = int(places[0]) % RECORD_STRIDE
        assert max(home // 81, home // 9 % 9, home % 9) < 8, "the first place is in the row's own brick"
    assert int((bricks.brick_rows < grid.active_voxels).sum()) == len(bricks.row_positions)


def test_distances_never_lead_past_a_brick():
    coordinates = torch.tensor([[3, 3, 3], [200, 40, 100], [90, 180, 20]])
    grid = VoxelGrid.from_voxels((256, 256, 128), (0, 0, 0, 1, 1, 1), coordinates, torch.ones(3), torch.zeros(3, 1, 3))
    bricks = BrickMap.build(grid)
    table = bricks.bricks.reshape(bricks.brick_count)
    occupied = torch.nonzero(table > 0)
    everywhere = torch.nonzero(table <= 0)
    true_distance = (everywhere[:, None] - occupied[None]).abs().amax(2).amin(1)
    claimed = -table[table <= 0]
    assert bool((claimed <= true_distance).all())
    assert bool((claimed >= 1).all())
    assert bool((claimed == true_distance.clamp(max=16)).all())
