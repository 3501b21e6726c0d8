"""Which rays a training draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plenoxels.config import PlenoxelConfig
from plenoxels.datasets import open_dataset
from plenoxels.grid import VoxelGrid
from plenoxels.kernels import Field
from plenoxels.kernels.cpu.kernels import CpuKernels
from plenoxels.training.photo_cells import CellsThatHit, PhotoCells, cells_that_hit
from plenoxels.training.photo_pool import PhotoPool
from plenoxels.training.ray_sampler import RaySampler
from plenoxels.training.recipe import Recipe
from small_scene import write_small_scene


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> PhotoPool:
    dataset = open_dataset(write_small_scene(tmp_path_factory.mktemp("scene"), views=3))
    return PhotoPool(dataset.train, dataset.load_photos(dataset.train), PlenoxelConfig())


def _all_cells(pool: PhotoPool) -> CellsThatHit:
    cells = PhotoCells(pool)
    return CellsThatHit(cells, torch.arange(cells.count))


def _sampler(pool: PhotoPool, **settings: object) -> RaySampler:
    recipe = Recipe().with_overrides({"batch_rays": 256, "tile": 1, **settings})
    return RaySampler(pool, _all_cells(pool), recipe)


def _train(pool: PhotoPool, sampler: RaySampler, generator: torch.Generator, steps: int) -> torch.Tensor:
    """Draws where the first view alone is wrong; the origins of the last 50 batches' rays, [n, 3]."""
    first = torch.tensor(pool.views[0].position, dtype=torch.float32)
    origins = []
    for _ in range(steps):
        rays, _, _ = sampler.draw(generator)
        wrong = torch.isclose(rays.origins, first, atol=1e-5).all(1)
        sampler.learn(torch.where(wrong, 0.09, 0.0001))
        origins.append(rays.origins)
    return torch.cat(origins[-50:])


def _share_of_first_view(pool: PhotoPool, origins: torch.Tensor) -> float:
    first = torch.tensor(pool.views[0].position, dtype=torch.float32)
    return float(torch.isclose(origins, first, atol=1e-5).all(1).float().mean())


def test_wrong_pixels_are_drawn_more_often_and_right_ones_still(pool):
    origins = _train(pool, _sampler(pool, error_share=0.8), torch.Generator().manual_seed(1), 200)
    # The roots of the errors are 30 to 1: 0.2 of the draws are even, 0.8 of them go 30/32 to the first of three views.
    assert _share_of_first_view(pool, origins) == pytest.approx(0.2 / 3 + 0.8 * 30 / 32, abs=0.02)


def test_without_a_share_for_errors_all_pixels_are_alike(pool):
    origins = _train(pool, _sampler(pool, error_share=0), torch.Generator().manual_seed(1), 200)
    assert _share_of_first_view(pool, origins) == pytest.approx(1 / 3, abs=0.02)


def test_only_the_given_cells_are_drawn_and_each_pixel_of_them_alike(pool):
    cells = PhotoCells(pool)
    wanted = torch.arange(1, cells.count, 7)
    sampler = RaySampler(pool, CellsThatHit(cells, wanted), Recipe().with_overrides({"batch_rays": 4096, "tile": 1}))
    assert sampler.pixel_count == int(cells.pixels(wanted).sum())
    seen: dict[tuple[float, ...], int] = {}
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        rays, _, _ = sampler.draw(generator)
        for ray in torch.cat([rays.origins, rays.directions], 1).tolist():
            seen[tuple(ray)] = seen.get(tuple(ray), 0) + 1
    assert len(seen) == sampler.pixel_count  # no other pixel, and none left out
    counts = torch.tensor(list(seen.values()), dtype=torch.float64)
    expected = 20 * 4096 / sampler.pixel_count
    assert float(((counts - expected) ** 2 / expected).mean()) == pytest.approx(1, abs=0.25)  # chi squared a pixel


def test_tiles_stay_inside_their_pictures_and_hold_the_drawn_cell(pool):
    cells, generator = PhotoCells(pool), torch.Generator().manual_seed(5)
    drawn = torch.randint(cells.count, (500,), generator=generator)
    view, place = cells.tiles(drawn, torch.rand(4, 500, generator=generator, dtype=torch.float64), 4)
    assert place.shape == (500, 16)
    sizes = torch.tensor([v.intrinsics.width * v.intrinsics.height for v in pool.views])
    assert bool((place >= 0).all())
    assert bool((place < sizes[view][:, None]).all())
    assert all(len(set(tile)) == 16 for tile in place.tolist())


def test_cells_that_hit_come_in_the_order_of_what_they_look_at(pool):
    """A small ball in the middle: cells at the pictures' corners are left out, neighbours stay together."""
    side = 24
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    ball = torch.nonzero(torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).norm(dim=-1) < 0.5)
    grid = VoxelGrid.from_voxels(
        (side,) * 3, (-1, -1, -1, 1, 1, 1), ball, torch.full((len(ball),), 50.0), torch.zeros(len(ball), 1, 3)
    )
    cells, kernels = PhotoCells(pool), CpuKernels(1)
    hits = cells_that_hit(Field.of(grid), cells, kernels)
    assert len(hits.cells) == len(torch.unique(hits.cells))
    centres, entries = [], []
    for view in range(cells.views):
        rays, _ = cells.rays_of_view(view)
        along = -(rays.origins * rays.directions).sum(1)
        nearest = rays.origins + along[:, None] * rays.directions
        centres.append(nearest.norm(dim=1))
        entries.append(nearest - (0.25 - nearest.square().sum(1)).clamp(min=0).sqrt()[:, None] * rays.directions)
    distance, entry = torch.cat(centres), torch.cat(entries)
    meets = torch.zeros(cells.count, dtype=torch.bool)
    meets[hits.cells] = True
    assert bool(meets[distance < 0.45].all())
    assert not bool(meets[distance > 0.9].any())
    in_order = entry[hits.cells[distance[hits.cells] < 0.45]]
    step = (in_order[1:] - in_order[:-1]).norm(dim=1).mean()
    shuffled = in_order[torch.randperm(len(in_order), generator=torch.Generator().manual_seed(0))]
    assert float(step) < 0.7 * float((shuffled[1:] - shuffled[:-1]).norm(dim=1).mean())


def test_an_empty_field_is_hit_by_nothing(pool):
    grid = VoxelGrid((8, 8, 8), (-1, -1, -1, 1, 1, 1), 0)
    assert not len(cells_that_hit(Field.of(grid), PhotoCells(pool), CpuKernels(1)).cells)


@pytest.mark.parametrize("broken", ["cells", "all_cells", "cell_errors"])
def test_the_state_of_other_photos_is_left_out(pool, broken):
    sampler = _sampler(pool)
    state = {name: np.array(value) for name, value in sampler.state().items()}
    state[broken] = {"cells": state["cells"] + 10**6, "all_cells": np.array(3), "cell_errors": np.zeros(2)}[broken]
    again = _sampler(pool)
    again.restore({**state, "rays_drawn": 77})
    assert again.rays_drawn == 77
    assert torch.equal(
        again.draw(torch.Generator().manual_seed(1))[1], sampler.draw(torch.Generator().manual_seed(1))[1]
    )


def test_a_restored_sampler_goes_on_as_the_first_one_would(pool):
    sampler, generator = _sampler(pool), torch.Generator().manual_seed(3)
    _train(pool, sampler, generator, 57)  # not a multiple of the steps between new chances
    state = {name: np.array(value) for name, value in sampler.state().items()}
    again, copied = _sampler(pool), torch.Generator()
    again.restore(state)
    copied.set_state(generator.get_state())
    assert torch.equal(_train(pool, sampler, generator, 50), _train(pool, again, copied, 50))
