"""CUDA's kernels on a GPU against the CPU's native ones, where there is a GPU."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from plenoxels.config import Compositing
from plenoxels.kernels import Field, GradientBuffers, MarchSettings, RayBatch, RmsPropRates
from plenoxels.kernels.cpu.kernels import CpuKernels
from plenoxels.kernels.cuda.kernels import CudaKernels
from random_fields import random_grid, random_rays

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
DEGREES = [0, 1, 2, 3]


def _on_gpu(rays: RayBatch) -> RayBatch:
    jitter = None if rays.jitter is None else rays.jitter.cuda()
    return RayBatch(rays.origins.cuda(), rays.directions.cuda(), jitter)


def _gradients_on_gpu(gradients: GradientBuffers) -> GradientBuffers:
    return GradientBuffers(*(getattr(gradients, part.name).cuda() for part in fields(gradients)))


def _assert_close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(ours.cpu(), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("compositing", list(Compositing))
@pytest.mark.parametrize("step_fraction", [0.5, 0.07])
@pytest.mark.parametrize("degree", DEGREES)
def test_pixels_and_gradients_agree_with_the_cpu(degree, step_fraction, compositing):
    grid = random_grid(degree, resolution=(40, 30, 50), seed=degree)
    rays = random_rays(grid, 3001, seed=degree, jitter=True)
    settings = MarchSettings(step_fraction * min(grid.voxel_size), 1e-4, 1e-3, (1.0, 0.6, 0.2), compositing)
    targets = torch.rand(len(rays), 3, generator=torch.Generator().manual_seed(degree))
    expected = GradientBuffers.for_grid(grid)
    expected_statistics = CpuKernels().loss_gradients(Field.of(grid), rays, targets, settings, expected)
    expected_pixels, expected_transmittance = CpuKernels().render(Field.of(grid), rays, settings)

    kernels, on_gpu = CudaKernels(), grid.to("cuda")
    field, gradients = Field.of(on_gpu), GradientBuffers.for_grid(on_gpu)
    statistics = kernels.loss_gradients(field, _on_gpu(rays), targets.cuda(), settings, gradients)
    pixels, transmittance = kernels.render(field, _on_gpu(rays), settings)
    _assert_close(pixels, expected_pixels)
    _assert_close(transmittance, expected_transmittance)
    _assert_close(gradients.rows, expected.rows)
    assert int((gradients.visibility.cpu().int() - expected.visibility.int()).abs().max()) <= 1
    assert statistics.squared_error == pytest.approx(expected_statistics.squared_error, rel=1e-4)
    assert statistics.coloured == pytest.approx(expected_statistics.coloured, rel=1e-4, abs=2)
    assert statistics.coloured <= statistics.marched <= expected_statistics.marched


def test_pixel_gradients_agree_with_the_cpu():
    grid = random_grid(2, seed=3)
    rays = random_rays(grid, 500, seed=3)
    settings = MarchSettings(0.5 * min(grid.voxel_size), 0.0, 0.0, (1.0, 0.6, 0.2), Compositing.LINEAR)
    by_pixel = torch.randn(len(rays), 3, generator=torch.Generator().manual_seed(1))
    expected = GradientBuffers.for_grid(grid)
    CpuKernels().pixel_gradients(Field.of(grid), rays, by_pixel, settings, expected)
    on_gpu = grid.to("cuda")
    gradients = GradientBuffers.for_grid(on_gpu)
    CudaKernels().pixel_gradients(Field.of(on_gpu), _on_gpu(rays), by_pixel.cuda(), settings, gradients)
    _assert_close(gradients.rows, expected.rows)


@pytest.mark.parametrize("degree", DEGREES)
def test_optimiser_and_total_variation_agree_with_the_cpu(degree):
    grid = random_grid(degree, resolution=(40, 30, 50), seed=4, occupancy=0.7)
    generator = torch.Generator().manual_seed(2)
    expected = GradientBuffers.for_grid(grid)
    touched = torch.rand(grid.active_voxels, generator=generator) < 0.3
    columns = [grid.layout.density, *grid.layout.sh_columns().flatten().tolist()]  # the padding has no gradient
    drawn = torch.zeros(int(touched.sum()), grid.layout.width)
    drawn[:, columns] = torch.randn(len(drawn), len(columns), generator=generator) * 1e-3
    expected.rows[:-1][touched] = drawn
    expected.mean_square.uniform_(0, 1e-5, generator=generator)
    expected.visibility[:-1][touched] = 77
    rates = RmsPropRates(density=3.0, sh=0.02, decay=0.95, density_epsilon=1e-7, sh_epsilon=1e-8)
    on_gpu, gradients = grid.to("cuda"), _gradients_on_gpu(expected)
    field, expected_field = Field.of(on_gpu), Field.of(grid)
    kernels, expected_kernels = CudaKernels(), CpuKernels()

    first, count = grid.active_voxels - 50, 4000
    kernels.total_variation(field, gradients, first, count, density_scale=0.3, sh_scale=0.7)
    expected_kernels.total_variation(expected_field, expected, first, count, density_scale=0.3, sh_scale=0.7)
    _assert_close(gradients.rows, expected.rows)
    assert bool((gradients.visibility.cpu() == expected.visibility).all())

    gradients = _gradients_on_gpu(expected)  # the very same numbers: a step divides by them
    assert kernels.rmsprop_step(field, gradients, rates) == expected_kernels.rmsprop_step(
        expected_field, expected, rates
    )
    _assert_close(on_gpu.rows, grid.rows)
    _assert_close(gradients.mean_square, expected.mean_square)
    _assert_close(field.bricks.brick_density, expected_field.bricks.brick_density)
    assert not gradients.rows.any()
    assert not gradients.visibility.any()
    assert bool((gradients.greatest_visibility.cpu() == expected.greatest_visibility).all())


@pytest.mark.parametrize("degree", DEGREES)
def test_resampling_agrees_with_the_cpu(degree):
    grid = random_grid(degree, resolution=(9, 14, 11), seed=8, occupancy=0.6)
    fine = torch.nonzero(torch.rand(18, 28, 22, generator=torch.Generator().manual_seed(3)) < 0.5)
    expected = CpuKernels().resample(Field.of(grid), fine, (0.5, 0.5, 0.5))
    on_gpu = grid.to("cuda")
    _assert_close(CudaKernels().resample(Field.of(on_gpu), fine.cuda(), (0.5, 0.5, 0.5)), expected)
