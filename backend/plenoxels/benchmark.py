"""How fast the kernels run here: rays per second of a whole training step, on a scene that anyone can make again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from plenoxels.config import Compositing
from plenoxels.grid import VoxelGrid, curve_position
from plenoxels.kernels import (
    Adding,
    Field,
    GradientBuffers,
    Kernels,
    MarchSettings,
    RayBatch,
    RmsPropRates,
    open_kernels,
)

_BATCH = 20_000
_TILE = 4
_RATES = RmsPropRates(density=1e-6, sh=1e-9, decay=0.95, density_epsilon=1e-8, sh_epsilon=1e-8)


@dataclass(frozen=True)
class BenchmarkResult:
    """Rays per second on the benchmark's scene.

    Attributes:
        device: the kernels' description.
        resolution: voxels along each axis.
        voxels: active voxels.
        forward: rendering alone, random rays.
        training_random: forward, backward and update, random rays.
        training_tiles: the same with 4x4 pixel tiles, sorted by what they look at, as trainings have them.
        samples_per_ray: coloured samples per ray.
    """

    device: str
    resolution: int
    voxels: int
    forward: float
    training_random: float
    training_tiles: float
    samples_per_ray: float

    def lines(self) -> list[str]:
        """The result for people."""
        return [
            f"Scene: wrinkled shell, {self.resolution}^3, {self.voxels:,} active voxels, SH degree 2,",
            f"       half-voxel steps, encoded compositing, {_BATCH:,} rays a batch,",
            f"       {self.samples_per_ray:.1f} coloured samples a ray",
            f"Device: {self.device}",
            f"Forward:                             {self.forward / 1e6:6.2f} million rays/s",
            f"Forward, backward, update (random):  {self.training_random / 1e6:6.2f} million rays/s",
            f"Forward, backward, update (4x4 tiles):{self.training_tiles / 1e6:5.2f} million rays/s",
        ]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def shell_scene(resolution: int) -> VoxelGrid:
    """A wrinkled closed surface about two voxels thick in a shell of active voxels, as in late training; degree 2."""
    generator = torch.Generator().manual_seed(0)
    coordinates = []
    axis = (torch.arange(resolution) + 0.5) / resolution * 2 - 1
    thickness = 4 / resolution
    for x in range(resolution):  # slab by slab bounds the memory
        y, z = torch.meshgrid(axis, axis, indexing="ij")
        distance = _shell_distance(torch.stack([torch.full_like(y, float(axis[x])), y, z], -1))
        inside = torch.nonzero(distance.abs() < 3.5 * thickness / 2)
        coordinates.append(torch.cat([torch.full((len(inside), 1), x), inside], 1))
    voxels = torch.cat(coordinates)
    distance = _shell_distance((voxels + 0.5) / resolution * 2 - 1)
    density = (3 * resolution) * (1 - distance.abs() / thickness)
    sh = torch.randn(len(voxels), 9, 3, generator=generator) * 0.1
    return VoxelGrid.from_voxels((resolution,) * 3, (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0), voxels, density, sh)


def _shell_distance(p: torch.Tensor) -> torch.Tensor:
    wrinkles = 0.06 * torch.sin(9 * p[..., 0]) * torch.sin(8 * p[..., 1]) * torch.sin(7 * p[..., 2])
    return p.norm(dim=-1) - 0.72 + wrinkles


def orbit_rays(count: int, tile: int, seed: int) -> RayBatch:
    """Rays of 800x800 cameras around the scene that hit its bounding ball, in square tiles of `tile` pixels a side."""
    generator = torch.Generator().manual_seed(seed)
    tiles = count // (tile * tile)
    position = torch.nn.functional.normalize(torch.randn(tiles, 3, generator=generator), dim=1) * 3
    back = position / 3
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 0, 1]).expand(tiles, 3), back), dim=1)
    up = torch.linalg.cross(back, right)
    angle, radius = 2 * math.pi * torch.rand(tiles, generator=generator), torch.rand(tiles, generator=generator).sqrt()
    centre = torch.stack([angle.cos() * radius, angle.sin() * radius], 1) * 0.27  # tangent of the ball's half angle
    offset = (torch.arange(tile) - (tile - 1) / 2) * (2 * 0.3 / 800)
    pixel = centre[:, None, None] + torch.stack(torch.meshgrid(offset, offset, indexing="ij"), -1)
    local = pixel.reshape(tiles, -1, 2)
    direction = local[..., :1] * right[:, None] + local[..., 1:] * up[:, None] - back[:, None]
    directions = torch.nn.functional.normalize(direction, dim=-1).reshape(-1, 3)
    return RayBatch(position.repeat_interleave(tile * tile, 0).contiguous(), directions.contiguous())


def _sorted_tiles(rays: RayBatch, size: int) -> RayBatch:
    """The tiles of `size` rays each in the order of where they meet the scene's ball, as the trainer sorts them."""
    middle = slice(size // 2, None, size)
    origins, directions = rays.origins[middle], rays.directions[middle]
    along = -(origins * directions).sum(1)
    nearest = origins + along[:, None] * directions
    before = (0.72**2 - nearest.square().sum(1)).clamp(min=0).sqrt()
    places = (nearest - before[:, None] * directions) / 2 + 0.5
    order = torch.argsort(curve_position(places))
    ordered = [part.view(-1, size, 3)[order].reshape(-1, 3).contiguous() for part in (rays.origins, rays.directions)]
    return RayBatch(*ordered)


def run_benchmark(
    resolution: int = 256, seconds: float = 3.0, threads: int | None = None, device: str = "auto"
) -> BenchmarkResult:
    """Measures each rate for about `seconds`.

    Raises:
        DeviceMissing: the device is not there.
    """
    kernels = open_kernels(device, threads, Adding.RACING)  # as trainings do
    grid = shell_scene(resolution).to(kernels.device)
    field, gradients = Field.of(grid), GradientBuffers.for_grid(grid)
    settings = MarchSettings(0.5 * min(grid.voxel_size), 1e-4, 1e-4, (1.0, 1.0, 1.0), Compositing.ENCODED)
    targets = torch.full((_BATCH, 3), 0.5, device=kernels.device)

    together = kernels.batches_together

    def batches(tile: int, count: int = 1) -> list[RayBatch]:
        rays = [orbit_rays(count * _BATCH, tile, seed) for seed in range(8)]
        return [RayBatch(r.origins.to(kernels.device), r.directions.to(kernels.device)) for r in rays]

    coloured = 0.0

    def train_random(rays: RayBatch) -> None:
        kernels.loss_gradients(field, rays, targets, settings, gradients)
        kernels.rmsprop_step(field, gradients, _RATES)

    def train_tiles(rays: RayBatch) -> None:
        nonlocal coloured
        wanted = targets.repeat(together, 1)
        statistics = kernels.train(field, rays, wanted, settings, gradients, _RATES, batches=together)
        coloured = statistics.coloured / len(rays)

    random, tiles = batches(1), [_sorted_tiles(rays, _TILE**2) for rays in batches(_TILE, together)]
    return BenchmarkResult(
        device=kernels.description,
        resolution=resolution,
        voxels=grid.active_voxels,
        forward=_rate(kernels, lambda rays: kernels.render(field, rays, settings), random, seconds),
        training_random=_rate(kernels, train_random, random, seconds),
        training_tiles=_rate(kernels, train_tiles, tiles, seconds),
        samples_per_ray=coloured,
    )


def _rate(kernels: Kernels, work: Callable[[RayBatch], object], batches: list[RayBatch], seconds: float) -> float:
    for rays in batches[:2]:
        work(rays)
    _finish(kernels)
    begin, rays_done, turn = time.perf_counter(), 0, 0
    while (elapsed := time.perf_counter() - begin) < seconds:
        work(batches[turn % len(batches)])
        rays_done += len(batches[0])
        turn += 1
        _finish(kernels)
    return rays_done / elapsed


def _finish(kernels: Kernels) -> None:
    if kernels.device.type == "cuda":
        torch.cuda.synchronize(kernels.device)
