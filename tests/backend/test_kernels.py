"""Each device's kernels against the float64 reference: pixels, gradients, optimiser, total variation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from emulated_warp import EmulatedWarpKernels
from plenoxels.config import Compositing
from plenoxels.grid import VoxelGrid
from plenoxels.kernels import (
    Adding,
    Field,
    GradientBuffers,
    Kernels,
    MarchSettings,
    OpacityTargets,
    RmsPropRates,
    weight_code,
)
from plenoxels.kernels.cpu.kernels import CpuKernels
from plenoxels.kernels.cuda.kernels import CudaKernels
from random_fields import exact_settings, random_grid, random_rays
from reference_renderer import render_reference, trilinear

DEGREES = [0, 1, 2, 3]


@pytest.fixture(params=["native, one thread", "native, three threads", "CUDA's, one lane", "CUDA's, 32 lanes"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    if request.param == "CUDA's, one lane":
        return CudaKernels("cpu")
    if request.param == "CUDA's, 32 lanes":
        return EmulatedWarpKernels()
    return CpuKernels(threads=1 if request.param == "native, one thread" else 3)


def _reference_leaves(grid):
    return grid.density.double().requires_grad_(), grid.sh.double().requires_grad_()


@pytest.mark.parametrize("compositing", list(Compositing))
@pytest.mark.parametrize("degree", DEGREES)
def test_pixels_agree_with_the_reference(kernels, degree, compositing):
    grid = random_grid(degree, seed=degree)
    rays, settings = random_rays(grid, 400, seed=degree), exact_settings(grid, compositing)
    pixels, transmittance = kernels.render(Field.of(grid), rays, settings)
    expected = render_reference(grid, grid.density.double(), grid.sh.double(), rays, settings)
    torch.testing.assert_close(pixels.double(), expected, rtol=1e-5, atol=1e-5)
    assert (transmittance > 0.999).any()
    assert (transmittance < 0.5).any()


@pytest.mark.parametrize("compositing", list(Compositing))
@pytest.mark.parametrize("degree", DEGREES)
def test_loss_gradients_agree_with_the_reference(kernels, degree, compositing):
    grid = random_grid(degree, seed=10 + degree)
    rays, settings = (
        random_rays(grid, 300, seed=degree, jitter=True),
        exact_settings(grid, compositing, step_fraction=0.8),
    )
    targets = torch.rand(len(rays), 3, generator=torch.Generator().manual_seed(5))
    gradients = GradientBuffers.for_grid(grid)
    statistics = kernels.loss_gradients(Field.of(grid), rays, targets, settings, gradients)

    density, sh = _reference_leaves(grid)
    squared_error = (render_reference(grid, density, sh, rays, settings) - targets).square()
    squared_error.mean().backward()
    assert statistics.squared_error == pytest.approx(float(squared_error.sum().detach()), rel=1e-5)
    by_density, by_sh = (
        gradients.rows[:-1, grid.layout.density].double(),
        grid.layout.unpack_sh(gradients.rows[:-1]).double(),
    )
    for ours, theirs in ((by_density, density.grad), (by_sh, sh.grad)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
    assert not gradients.rows[-1].any()
    touched = gradients.visibility[:-1] > 0
    assert bool(touched[gradients.rows[:-1].abs().sum(1) > 0].all())


def test_pixel_gradients_agree_with_autograd(kernels):
    grid = random_grid(2, seed=3)
    rays, settings = random_rays(grid, 200, seed=3), exact_settings(grid, Compositing.LINEAR)
    by_pixel = torch.randn(len(rays), 3, generator=torch.Generator().manual_seed(1))
    gradients = GradientBuffers.for_grid(grid)
    kernels.pixel_gradients(Field.of(grid), rays, by_pixel, settings, gradients)
    density, sh = _reference_leaves(grid)
    render_reference(grid, density, sh, rays, settings).backward(by_pixel.double())
    ours = grid.layout.unpack_sh(gradients.rows[:-1]).double()
    torch.testing.assert_close(ours, sh.grad, rtol=1e-4, atol=1e-4 * float(sh.grad.abs().max()))


def _reference_transmittance(grid, density, sh, rays, settings):
    """What changes between a white and a black background, where encoded values are composited."""
    white, black = (
        render_reference(grid, density, sh, rays, replace(settings, background=(c, c, c))) for c in (1.0, 0.0)
    )
    return (white - black)[:, 0]


def test_wanted_opacities_and_gradients_by_transmittance_agree_with_the_reference(kernels):
    grid = random_grid(1, seed=21)
    rays, settings = random_rays(grid, 300, seed=4, jitter=True), exact_settings(grid, Compositing.ENCODED)
    generator = torch.Generator().manual_seed(6)
    targets, opacities = torch.rand(len(rays), 3, generator=generator), torch.rand(len(rays), generator=generator)
    by_pixel, by_transmittance = (
        torch.randn(len(rays), 3, generator=generator),
        torch.randn(len(rays), generator=generator),
    )

    def wanted(density, sh):
        pixels = render_reference(grid, density, sh, rays, settings)
        opacity = 1 - _reference_transmittance(grid, density, sh, rays, settings)
        return (pixels - targets).square().mean() + 0.7 * (opacity - opacities).square().mean()

    def any_loss(density, sh):
        transmittance = _reference_transmittance(grid, density, sh, rays, settings)
        return (render_reference(grid, density, sh, rays, settings) * by_pixel).sum() + (
            transmittance * by_transmittance
        ).sum()

    loss_buffers, any_buffers = GradientBuffers.for_grid(grid), GradientBuffers.for_grid(grid)
    opacity = OpacityTargets(opacities, 0.7)
    statistics = kernels.loss_gradients(Field.of(grid), rays, targets, settings, loss_buffers, opacity)
    kernels.pixel_gradients(Field.of(grid), rays, by_pixel, settings, any_buffers, by_transmittance)
    for loss, buffers in ((wanted, loss_buffers), (any_loss, any_buffers)):
        density, sh = _reference_leaves(grid)
        loss(density, sh).backward()
        ours = buffers.rows[:-1, grid.layout.density].double()
        torch.testing.assert_close(ours, density.grad, rtol=1e-4, atol=1e-4 * float(density.grad.abs().max()))
    difference = (render_reference(grid, *_reference_leaves(grid), rays, settings) - targets).square().sum(1)
    torch.testing.assert_close(statistics.ray_errors.double(), difference.detach(), rtol=1e-4, atol=1e-5)
    short = OpacityTargets(opacities[1:], 1.0)
    with pytest.raises(ValueError, match="Opacities of shape"):
        kernels.loss_gradients(Field.of(grid), rays, targets, settings, loss_buffers, short)


def test_racing_threads_lose_next_to_nothing():
    grid = random_grid(2, seed=8)
    rays, settings = random_rays(grid, 4000, seed=8), exact_settings(grid, Compositing.ENCODED)
    targets = torch.rand(len(rays), 3, generator=torch.Generator().manual_seed(8))
    rows = []
    for adding in (Adding.EXACT, Adding.RACING):
        buffers = GradientBuffers.for_grid(grid)
        CpuKernels(2, adding).loss_gradients(Field.of(grid), rays, targets, settings, buffers)
        rows.append(buffers.rows)
    assert float((rows[0] - rows[1]).norm() / rows[0].norm()) < 0.2


@pytest.mark.parametrize("step_fraction", [0.5, 0.07])
def test_thresholds_act_alike_on_every_device(kernels, step_fraction):
    """Rays that end in the midst of a dense field, and rays of more coloured samples than CUDA's kernels keep."""
    grid = random_grid(2, seed=7, mean_density=8.0 if step_fraction == 0.5 else 1.0)
    rays = random_rays(grid, 150, seed=7, jitter=True)
    settings = MarchSettings(step_fraction * min(grid.voxel_size), 1e-4, 0.05, (1.0, 0.6, 0.2), Compositing.LINEAR)
    targets = torch.rand(len(rays), 3, generator=torch.Generator().manual_seed(7))
    field, results = Field.of(grid), []
    for each in (CpuKernels(threads=1), kernels):
        gradients = GradientBuffers.for_grid(grid)
        statistics = each.loss_gradients(field, rays, targets, settings, gradients)
        results.append((statistics, gradients.rows, *each.render(field, rays, settings)))
    (expected, *expected_tensors), (ours, *our_tensors) = results
    for tensor, expected_tensor in zip(our_tensors, expected_tensors, strict=True):
        torch.testing.assert_close(tensor, expected_tensor, rtol=1e-4, atol=1e-4 * float(expected_tensor.abs().max()))
    assert ours.squared_error == pytest.approx(expected.squared_error, rel=1e-5)
    assert ours.coloured == pytest.approx(expected.coloured, abs=2)  # a weight at the threshold may fall on either side
    assert ours.coloured <= ours.marched <= expected.marched
    if step_fraction < 0.1:
        assert ours.coloured > 64 * len(rays)
    else:
        assert float((our_tensors[-1] < settings.transmittance_threshold).float().mean()) > 0.3


def test_empty_space_is_skipped_without_a_trace(kernels):
    """A few far-apart clusters: long jumps over empty bricks must not change a pixel."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[5, 5, 5], [120, 30, 60], [60, 110, 118], [10, 100, 40]])
    offsets = torch.randint(0, 7, (60, 3), generator=generator)
    coordinates = torch.unique((centres[:, None] + offsets).reshape(-1, 3), dim=0)
    n = len(coordinates)
    grid = VoxelGrid.from_voxels(
        (128, 128, 128),
        (-1, -1, -1, 1, 1, 1),
        coordinates,
        torch.full((n,), 20.0),
        torch.rand(n, 4, 3, generator=generator),
    )
    rays = random_rays(grid, 60, seed=1)
    settings = exact_settings(grid, Compositing.ENCODED)
    pixels, _ = kernels.render(Field.of(grid), rays, settings)
    expected = render_reference(grid, grid.density.double(), grid.sh.double(), rays, settings)
    torch.testing.assert_close(pixels.double(), expected, rtol=1e-5, atol=2e-5)


def test_nothing_is_rendered_from_an_empty_grid(kernels):
    grid = VoxelGrid((8, 8, 8), (-1, -1, -1, 1, 1, 1), 2)
    rays = random_rays(grid, 16)
    pixels, transmittance = kernels.render(Field.of(grid), rays, exact_settings(grid, Compositing.ENCODED))
    torch.testing.assert_close(pixels, torch.tensor([1.0, 0.6, 0.2]).expand(16, 3))
    assert bool((transmittance == 1).all())


@pytest.mark.parametrize("degree", DEGREES)
def test_rmsprop_steps_touched_rows_only(kernels, degree):
    grid = random_grid(degree, seed=4)
    field, gradients = Field.of(grid), GradientBuffers.for_grid(grid)
    generator = torch.Generator().manual_seed(2)
    touched = torch.rand(grid.active_voxels, generator=generator) < 0.3
    columns = [grid.layout.density, *grid.layout.sh_columns().flatten().tolist()]  # the padding has no gradient
    drawn = torch.zeros(int(touched.sum()), grid.layout.width)
    drawn[:, columns] = torch.randn(len(drawn), len(columns), generator=generator) * 1e-3
    gradients.rows[:-1][touched] = drawn
    gradients.mean_square.uniform_(0, 1e-5, generator=generator)
    gradients.visibility[:-1][touched] = 77
    before, square, gradient = grid.rows.double(), gradients.mean_square.double(), gradients.rows.double()
    rates = RmsPropRates(density=3.0, sh=0.02, decay=0.95, density_epsilon=1e-7, sh_epsilon=1e-8)
    assert kernels.rmsprop_step(field, gradients, rates) == int(touched.sum())

    column, is_touched = grid.layout.density, torch.cat([touched, torch.tensor([False])])[:, None]
    by_colours = gradient.clone()
    by_colours[:, column] = 0
    fresh = torch.stack([gradient[:, column].square(), by_colours.square().sum(1) / (3 * (degree + 1) ** 2)], 1)
    mean = torch.where(is_touched, rates.decay * square + (1 - rates.decay) * fresh, square)
    step = rates.sh * gradient / (mean[:, 1:].sqrt() + rates.sh_epsilon)
    step[:, column] = rates.density * gradient[:, column] / (mean[:, 0].sqrt() + rates.density_epsilon)
    torch.testing.assert_close(grid.rows.double(), torch.where(is_touched, before - step, before), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients.mean_square.double(), mean, rtol=1e-4, atol=1e-12)
    assert not gradients.rows.any()
    assert not gradients.visibility.any()
    assert bool((gradients.greatest_visibility[:-1] == touched * 77).all())
    fresh = Field.of(grid)
    torch.testing.assert_close(field.bricks.brick_density, fresh.bricks.brick_density)


@pytest.mark.parametrize("degree", DEGREES)
def test_learning_from_a_batch_is_its_gradients_and_a_step(degree):
    """Within one step's rays `train` does as the two kernels do; rows that were touched before are stepped as well."""
    rates = RmsPropRates(density=3.0, sh=0.02, decay=0.9, density_epsilon=1e-7, sh_epsilon=1e-8)
    results = []
    for kernels in (CpuKernels(1), CpuKernels(1), CpuKernels(2), CudaKernels("cpu"), EmulatedWarpKernels()):
        grid = random_grid(degree, seed=6)
        rays, settings = random_rays(grid, 200, seed=2, jitter=True), exact_settings(grid, Compositing.ENCODED)
        targets = torch.rand(len(rays), 3, generator=torch.Generator().manual_seed(1))
        opacity = OpacityTargets(torch.rand(len(rays), generator=torch.Generator().manual_seed(2)), 0.3)
        field, gradients = Field.of(grid), GradientBuffers.for_grid(grid)
        kernels.total_variation(field, gradients, 0, 30, density_scale=0.01, sh_scale=0.01)
        if results:
            statistics = kernels.train(field, rays, targets, settings, gradients, rates, opacity)
        else:
            statistics = kernels.loss_gradients(field, rays, targets, settings, gradients, opacity)
            kernels.rmsprop_step(field, gradients, rates)
        assert not gradients.rows.any()
        assert not gradients.visibility.any()
        results.append((grid.rows, gradients.mean_square, gradients.greatest_visibility, statistics.ray_errors))
    for other in results[1:]:
        assert float((other[0] - results[0][0]).abs().max()) < 2e-3 * float(results[0][0].abs().max())
        torch.testing.assert_close(other[1], results[0][1], rtol=1e-3, atol=1e-9)
        assert int((other[2].int() - results[0][2].int()).abs().max()) <= 1
        torch.testing.assert_close(other[3], results[0][3], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_learning_from_many_batches_at_once_steps_more_often(threads):
    """Several batches: the loss falls further than by one step of all rows, and no gradient stays behind."""
    rates = RmsPropRates(density=0.5, sh=0.01, decay=0.9, density_epsilon=1e-7, sh_epsilon=1e-8)
    losses = {}
    for name, adding in (("often", Adding.RACING), ("once", Adding.EXACT)):
        kernels = CpuKernels(threads, adding)
        kernels.batches_together = 8 if name == "often" else 1
        for capacity in (1 << 17, 50) if name == "often" else (1 << 17,):  # also where lists are far too short
            kernels._touched = [torch.empty(capacity, dtype=torch.int32) for _ in range(threads)]
            grid = random_grid(1, seed=6)
            rays, settings = random_rays(grid, 4000, seed=2, jitter=True), exact_settings(grid, Compositing.ENCODED)
            targets = torch.full((len(rays), 3), 0.3)
            field, gradients = Field.of(grid), GradientBuffers.for_grid(grid)
            kernels.train(field, rays, targets, settings, gradients, rates, batches=8 if name == "often" else 1)
            left = float(gradients.rows.any(1).float().mean())
            assert left == 0 if threads == 1 else left < 0.01  # a row that two threads meet in may keep some
            assert not gradients.visibility.any()
            stale = float((field.bricks.brick_density != Field.of(grid).bricks.brick_density).float().mean())
            assert stale == 0 if threads == 1 else stale < 0.01
            field.bricks.refresh_density(grid)
            losses[name, capacity] = kernels.loss_gradients(field, rays, targets, settings, gradients).squared_error
    assert losses["often", 1 << 17] < 0.9 * losses["once", 1 << 17]


@pytest.mark.parametrize("degree", DEGREES)
def test_total_variation_agrees_with_autograd(kernels, degree):
    grid = random_grid(degree, seed=5, occupancy=0.7)
    field, gradients = Field.of(grid), GradientBuffers.for_grid(grid)
    first, count = grid.active_voxels - 50, 400
    kernels.total_variation(field, gradients, first, count, density_scale=0.3, sh_scale=0.7)

    rows = torch.arange(first, first + count) % grid.active_voxels
    lookup = {tuple(c): i for i, c in enumerate(grid.coordinates.tolist())}
    density, sh = _reference_leaves(grid)
    values = torch.cat([density[:, None], sh.flatten(1)], 1)
    values = torch.cat([values, torch.zeros(1, values.shape[1], dtype=torch.float64)])
    total = torch.zeros((), dtype=torch.float64)
    is_density = torch.zeros(values.shape[1], dtype=torch.float64)
    is_density[0] = 1
    square = torch.full((count, values.shape[1]), 1e-9, dtype=torch.float64)
    for axis in range(3):
        step = torch.eye(3, dtype=torch.int64)[axis]
        moved = [tuple((grid.coordinates[r].long() + step).tolist()) for r in rows]
        neighbours = torch.tensor([lookup.get(m, grid.active_voxels) for m in moved])
        counts = torch.maximum((neighbours < grid.active_voxels).double()[:, None], is_density[None])
        square = square + ((values[neighbours] - values[rows]) * counts).square()
    total = (square.sqrt() * (0.3 * is_density + 0.7 * (1 - is_density))).sum()
    total.backward()
    by_sh = grid.layout.unpack_sh(gradients.rows[:-1]).double()
    torch.testing.assert_close(gradients.rows[:-1, grid.layout.density].double(), density.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(by_sh, sh.grad, rtol=1e-3, atol=1e-4)


def test_visibility_codes_order_weights_alike_on_every_device():
    grid = random_grid(1, seed=6)
    rays, settings = random_rays(grid, 300, seed=6), exact_settings(grid, Compositing.ENCODED)
    targets = torch.zeros(len(rays), 3)
    codes = []
    for kernels in (CpuKernels(threads=1), CudaKernels("cpu"), EmulatedWarpKernels()):
        gradients = GradientBuffers.for_grid(grid)
        kernels.loss_gradients(Field.of(grid), rays, targets, settings, gradients)
        codes.append(gradients.visibility[:-1].int())
    for others in codes[1:]:
        assert int((codes[0] - others).abs().max()) <= 1  # a weight at a code's edge may fall on either side
        assert float((codes[0] == others).float().mean()) > 0.99
    weights = [1e-6, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.99, 1.0]
    assert [weight_code(w) for w in weights] == sorted({weight_code(w) for w in weights})
    assert int(codes[0].max()) <= weight_code(1.0)


@pytest.mark.parametrize("degree", DEGREES)
def test_resampling_agrees_with_the_field_where_rendering_reads_it(kernels, degree):
    grid = random_grid(degree, resolution=(9, 14, 11), seed=8, occupancy=0.6)
    fine = torch.nonzero(torch.rand(18, 28, 22, generator=torch.Generator().manual_seed(3)) < 0.5)
    rows = kernels.resample(Field.of(grid), fine, (0.5, 0.5, 0.5)).double()

    values = torch.cat([grid.density[:, None], grid.sh.flatten(1), torch.ones(grid.active_voxels, 1)], 1).double()
    padded = torch.zeros(11, 16, 13, values.shape[1], dtype=torch.float64)
    x, y, z = (grid.coordinates.long() + 1).unbind(1)
    padded[x, y, z] = values
    expected = trilinear(padded, (fine.double() + 0.5) / 2 - 0.5 + 1)
    torch.testing.assert_close(rows[:, grid.layout.density], expected[:, 0], rtol=1e-5, atol=1e-5)
    present = expected[:, -1:]
    colours = torch.where(
        present > 1e-6, expected[:, 1:-1] / present.clamp(min=1e-6), torch.zeros(1, dtype=torch.float64)
    )
    torch.testing.assert_close(grid.layout.unpack_sh(rows).flatten(1), colours, rtol=1e-4, atol=1e-5)
