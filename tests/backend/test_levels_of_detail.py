"""Levels of detail."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plenoxels.grid import VoxelGrid
from plenoxels.neuralvdb import coarser, read_field, read_metadata, write_field, write_levels
from stored_fields import make_grid, metadata_of


def reference(grid: VoxelGrid) -> dict[tuple, tuple[float, np.ndarray]]:
    """Parents one by one, in float64."""
    children: dict[tuple, list] = {}
    for index, density, sh in zip(grid.coordinates.tolist(), grid.density.tolist(), grid.sh.numpy(), strict=True):
        children.setdefault(tuple(i // 2 for i in index), []).append((density, sh.astype(np.float64)))
    result = {}
    for parent, members in children.items():
        masses = [max(0.0, density) for density, _ in members]
        if sum(masses) > 0:
            density, weights = sum(masses) / 8, np.array(masses) / sum(masses)
        else:
            density, weights = sum(d for d, _ in members) / 8, np.full(len(members), 1 / len(members))
        result[parent] = density, sum(w * sh for w, (_, sh) in zip(weights, members, strict=True))
    return result


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), resolution=st.tuples(*[st.integers(1, 9)] * 3), degree=st.integers(0, 3))
def test_agrees_with_a_plain_reference(seed, resolution, degree) -> None:
    grid = make_grid(seed, resolution, degree, 0.5)
    result, expected = coarser(grid), reference(grid)
    assert result.resolution == tuple(-(-r // 2) for r in resolution)
    assert {tuple(index) for index in result.coordinates.tolist()} == set(expected)
    for index, density, sh in zip(result.coordinates.tolist(), result.density.tolist(), result.sh.numpy(), strict=True):
        assert density == pytest.approx(expected[tuple(index)][0], rel=1e-5, abs=1e-5)
        np.testing.assert_allclose(sh, expected[tuple(index)][1], rtol=1e-4, atol=1e-5)


@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 17)] * 3))
def test_every_position_keeps_its_place(resolution) -> None:
    grid = make_grid(0, resolution, 0, 1.0)
    result = coarser(grid)
    np.testing.assert_allclose(result.voxel_size, np.multiply(grid.voxel_size, 2), rtol=1e-12)
    # A parent sits in the middle of its 8 children.
    np.testing.assert_allclose(result.origin, np.add(grid.origin, np.divide(grid.voxel_size, 2)), rtol=1e-12, atol=1e-9)
    for axis in range(3):
        if resolution[axis] % 2 == 0:
            assert result.scene_bounds[axis + 3] == grid.scene_bounds[axis + 3]


def test_as_much_is_absorbed_along_an_axis() -> None:
    grid = make_grid(3, (16, 16, 16), 0)
    result = coarser(grid)

    def depth(g: VoxelGrid) -> float:
        volume = g.voxel_size[0] * g.voxel_size[1] * g.voxel_size[2]
        return float(g.density.clamp(min=0).double().sum()) * volume

    assert depth(result) == pytest.approx(depth(grid), rel=1e-5)


def test_what_is_not_seen_does_not_colour_what_is() -> None:
    index = torch.tensor([[0, 0, 0], [1, 0, 0]])
    sh = torch.tensor([[[1.0, 0, 0]], [[0, 1.0, 0]]])
    result = coarser(VoxelGrid.from_voxels((2, 2, 2), (0, 0, 0, 1, 1, 1), index, torch.tensor([8.0, -5.0]), sh))
    assert result.density.tolist() == [1.0]
    assert result.sh[0, 0].tolist() == [1.0, 0.0, 0.0]


def test_levels_are_written_beside_the_field(tmp_path: Path) -> None:
    grid = make_grid(4, (20, 12, 9), 1)
    path = tmp_path / "größe.vdb"
    write_field(path, grid, metadata_of(grid))
    files = write_levels(path, grid, metadata_of(grid), 3, half_precision=False)
    assert [file.name for file in files] == [f"größe_lod{n}.vdb" for n in (1, 2, 3)]
    expected = grid
    for number, file in enumerate(files, 1):
        expected = coarser(expected)
        found, metadata = read_field(file)
        assert torch.equal(found.rows, expected.rows)
        assert metadata.lod_level == number
        assert metadata.training == metadata_of(grid).training
        assert metadata.step_size == pytest.approx(0.5 * min(expected.voxel_size))
    assert files[0].stat().st_size > files[1].stat().st_size > files[2].stat().st_size


def test_fewer_levels_take_the_place_of_more(tmp_path: Path) -> None:
    grid = make_grid(4)
    path = tmp_path / "f.vdb"
    write_levels(path, grid, metadata_of(grid), 4)
    write_levels(path, grid, metadata_of(grid), 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f_lod1.vdb"]
    with pytest.raises(ValueError, match="there can be 0 to 8"):
        write_levels(path, grid, metadata_of(grid), 9)


def test_levels_end_at_a_single_voxel_and_work_when_empty(tmp_path: Path) -> None:
    assert len(write_levels(tmp_path / "f.vdb", make_grid(1, (5, 3, 2)), metadata_of(make_grid(1, (5, 3, 2))), 8)) == 3
    empty = make_grid(1, (8, 8, 8), occupancy=0)
    assert coarser(empty).active_voxels == 0
    (file,) = write_levels(tmp_path / "e.vdb", empty, metadata_of(empty), 1)
    assert read_metadata(file).resolution == (4, 4, 4)
