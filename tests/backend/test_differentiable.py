"""`VoxelGrid.render` as a torch operation: gradcheck, the float64 reference, and an optimiser of somebody else's."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from plenoxels.config import Compositing, PlenoxelConfig
from plenoxels.grid import VoxelGrid
from plenoxels.kernels import Adding, Kernels, MarchSettings, RayBatch
from plenoxels.kernels.cpu.kernels import CpuKernels
from plenoxels.kernels.cuda.kernels import CudaKernels
from plenoxels.render import DifferentiableRenderer
from random_fields import random_grid, random_rays
from reference_renderer import render_reference


@pytest.fixture(params=["native", "native, deterministic", "warp"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    if request.param == "warp":
        return CudaKernels("cpu")
    return CpuKernels(threads=2, adding=Adding.ORDERED if "deterministic" in request.param else Adding.EXACT)


def _exact(degree: int, compositing: Compositing = Compositing.LINEAR) -> PlenoxelConfig:
    """Without thresholds, as the reference renders."""
    return PlenoxelConfig(degree, compositing, (1.0, 0.6, 0.2), weight_threshold=0.0, transmittance_threshold=0.0)


def _smooth_grid(degree: int) -> VoxelGrid:
    """A solid block, positive densities, colours between 0.2 and 0.8: no clamped value, so no kink anywhere."""
    generator = torch.Generator().manual_seed(degree)
    coordinates = torch.cartesian_prod(*[torch.arange(2, 4)] * 3)
    density = 0.5 + torch.rand(8, generator=generator)
    sh = 0.2 * torch.rand(8, (degree + 1) ** 2, 3, generator=generator) / (degree + 1)
    return VoxelGrid.from_voxels((6, 6, 6), (-1, -1, -1, 1, 1, 1), coordinates, density, sh)


@pytest.mark.parametrize("compositing", list(Compositing))
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gradcheck(kernels, degree, compositing):
    """Torch's own check by central differences. The kernels' numbers have 24 bits: wide steps, loose bounds."""
    grid = _smooth_grid(degree)
    rays, config = random_rays(grid, 12, seed=degree, jitter=True), _exact(degree, compositing)
    inputs = (grid.density.double().requires_grad_(), grid.sh.double().requires_grad_())

    def render(density: torch.Tensor, sh: torch.Tensor) -> torch.Tensor:
        return grid.render(rays, density=density.float(), sh=sh.float(), config=config, kernels=kernels).double()

    renderer = DifferentiableRenderer(grid, config, kernels)

    def transmittance(density: torch.Tensor) -> torch.Tensor:
        rows = grid.rows.clone()
        rows[:-1, grid.layout.density] = density.float()
        return renderer.render(rays, rows)[1].double()

    assert torch.autograd.gradcheck(transmittance, inputs[:1], eps=0.02, atol=2e-4, rtol=2e-3, nondet_tol=1e-6)
    assert torch.autograd.gradcheck(render, inputs, eps=0.02, atol=2e-4, rtol=2e-3, nondet_tol=1e-6)


@pytest.mark.parametrize("degree", [0, 2])
def test_any_loss_has_the_gradients_of_the_reference(kernels, degree):
    """A rough field (negative densities, clamped colours), a loss that is not a mean of squares."""
    grid = random_grid(degree, seed=degree)
    rays, config = random_rays(grid, 300, seed=1, jitter=True), _exact(degree)
    wanted = torch.rand(len(rays), 3, generator=torch.Generator().manual_seed(2))

    def loss(pixels: torch.Tensor) -> torch.Tensor:
        return torch.log1p(30 * (pixels - wanted).square()).sum() + pixels[:, 0].std()

    grid.rows.requires_grad_()
    loss(grid.render(rays, config=config, kernels=kernels)).backward()
    assert grid.rows.grad is not None
    density, sh = (values.detach().double().requires_grad_() for values in (grid.density, grid.sh))
    loss(render_reference(grid, density, sh, rays, MarchSettings.of(config, grid))).backward()
    ours = (grid.rows.grad[:-1, grid.layout.density], grid.layout.unpack_sh(grid.rows.grad[:-1]))
    for mine, theirs in zip(ours, (density.grad, sh.grad), strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-3, atol=2e-4 * float(theirs.abs().max()))
    assert not grid.rows.grad[-1].any(), "the row of all inactive voxels stays zero"


def test_each_backward_pass_sees_the_values_of_its_own_forward_pass(kernels):
    grid = random_grid(1, seed=3)
    rays, config = random_rays(grid, 100, seed=3), _exact(1)
    gradients = []
    for together in (False, True):
        leaves = [(grid.density * scale, grid.sh * scale) for scale in (1.0, 0.3)]
        leaves = [tuple(values.detach().requires_grad_() for values in pair) for pair in leaves]
        pixels = []
        for density, sh in leaves:
            pixels.append(grid.render(rays, density=density, sh=sh, config=config, kernels=kernels))
            if not together:
                pixels[-1].sum().backward()
        if together:
            pixels[0].sum().backward()
            pixels[1].sum().backward()
        gradients.append([values.grad for pair in leaves for values in pair])
    for alone, crossed in zip(*gradients, strict=True):
        torch.testing.assert_close(alone, crossed, rtol=1e-4, atol=1e-4)


def test_changed_values_are_noticed_however_they_changed(kernels):
    grid = random_grid(1, seed=4)
    rays, config = random_rays(grid, 50, seed=4), _exact(1)

    def fresh() -> torch.Tensor:
        copy = VoxelGrid.from_voxels(grid.resolution, grid.scene_bounds, grid.coordinates, grid.density, grid.sh)
        return copy.render(rays, config=config, kernels=kernels)

    grid.render(rays, config=config, kernels=kernels)
    with torch.no_grad():
        grid.rows.mul_(0.5)
    torch.testing.assert_close(grid.render(rays, config=config, kernels=kernels), fresh())
    grid.rows.data.mul_(0.5)  # neither this nor the next is counted as a change by torch
    torch.testing.assert_close(grid.render(rays, config=config, kernels=kernels), fresh())
    grid.rows.numpy()[:-1, grid.layout.density] += 1
    torch.testing.assert_close(grid.render(rays, config=config, kernels=kernels), fresh())
    grid.set_rows(grid.coordinates[::2], grid.rows[:-1][::2])
    torch.testing.assert_close(grid.render(rays, config=config, kernels=kernels), fresh())


def test_an_optimiser_of_torch_fits_a_scene():
    """The docstring's loop, with a regulariser on the way: it comes near a field that it never saw."""
    truth = random_grid(1, (10, 10, 10), (-1, -1, -1, 1, 1, 1), occupancy=1.0, seed=5, mean_density=3.0)
    config = PlenoxelConfig(sh_degree=1)
    n = truth.active_voxels
    density, sh = torch.ones(n).requires_grad_(), torch.zeros(n, 4, 3).requires_grad_()
    optimiser = torch.optim.Adam([{"params": [density], "lr": 0.3}, {"params": [sh], "lr": 0.05}])
    grid = VoxelGrid.from_voxels(truth.resolution, truth.scene_bounds, truth.coordinates, density.detach(), sh.detach())
    losses = []
    for step in range(120):
        rays = random_rays(truth, 1500, seed=step, jitter=True)
        colours = truth.render(rays, config=config)
        loss = (grid.render(rays, density=density, sh=sh, config=config) - colours).square().mean()
        optimiser.zero_grad()
        (loss + 1e-7 * sh.square().sum()).backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.1 * sum(losses[:10])
    assert sum(losses[-10:]) / 10 < 2e-3

    rows = grid.rows.requires_grad_()  # the other way: the grid's own rows, stepped in place
    optimiser = torch.optim.Adam([rows], lr=0.05)
    first = None
    for step in range(40):
        rays = random_rays(truth, 1500, seed=step)
        loss = (grid.render(rays, config=config) - truth.render(rays, config=config)).square().mean()
        first = float(loss.detach()) if first is None else first
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.5 * first
    assert not rows[-1].any()


def test_what_is_not_offered_says_so():
    grid = random_grid(1, seed=6)
    kernels = CpuKernels(1)
    rays = random_rays(grid, 10)
    moving = RayBatch(rays.origins.clone().requires_grad_(), rays.directions)
    with pytest.raises(ValueError, match=r"not by ray origins, directions or jitter. Detach"):
        grid.render(moving, kernels=kernels)
    with pytest.raises(ValueError, match="both density and sh"):
        grid.render(rays, density=grid.density, kernels=kernels)
    with pytest.raises(ValueError, match="Density of shape"):
        grid.render(rays, density=grid.density[1:], sh=grid.sh, kernels=kernels)
    with pytest.raises(ValueError, match="sh_degree 2"):
        grid.render(rays, config=PlenoxelConfig(sh_degree=2), kernels=kernels)
    renderer = DifferentiableRenderer(grid, kernels=kernels)
    with pytest.raises(ValueError, match="contiguous float32"):
        renderer.render(rays, grid.rows.double())
    rows = grid.rows.clone().requires_grad_()
    pixels, transmittance = renderer.render(rays, rows)
    assert pixels.requires_grad
    assert transmittance.requires_grad
    (by_rows,) = torch.autograd.grad(pixels.square().sum(), rows, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        by_rows.sum().backward()
    pixels, _ = renderer.render(rays, rows)
    with torch.no_grad():
        rows.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        pixels.sum().backward()


def test_a_grid_that_was_rendered_can_be_copied_and_goes_with_its_last_name():
    grid = random_grid(0, seed=7)
    rays, kernels = random_rays(grid, 4), CpuKernels(1)
    pixels = grid.render(rays, kernels=kernels)
    twin = copy.deepcopy(grid)
    grid.rows[:-1] = 0
    assert torch.equal(twin.render(rays, kernels=kernels), pixels)
    alive = weakref.ref(grid)
    gc.disable()
    try:
        del grid
        assert alive() is None
    finally:
        gc.enable()
