"""The CPU's kernels: native code compiled by Warp, on a pool of threads."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence

import torch
import warp as wp

from plenoxels.colour import decode_srgb
from plenoxels.config import Compositing
from plenoxels.grid.memory import huge_page_zeros
from plenoxels.kernels.cpu import structures
from plenoxels.kernels.cpu.native_module import NativeKernels, native_kernels
from plenoxels.kernels.cpu.ordered import OrderedGradients
from plenoxels.kernels.cpu.threads import ThreadPool
from plenoxels.kernels.interface import (
    Adding,
    BatchStatistics,
    Field,
    GradientBuffers,
    MarchSettings,
    OpacityTargets,
    RayBatch,
    RmsPropRates,
    check_targets,
)
from plenoxels.kernels.warp_start import start_warp

# Rays that share an optimiser step, and batches that are sorted by place and trained on together. lego, 60 s: single
# batches of 20,000 with one step each, unsorted: -0.9 dB, sorted: -0.5; 2,048 rays a step: -0.4; 512 a step in 4 or 16
# batches: -0.1.
_RAYS_A_STEP, _BATCHES_TOGETHER = 256, 8
_MOST_TOUCHED = 1 << 17  # rows that a thread lists for a step; more are left for the last one


def _address(structure: ctypes.Structure | ctypes.c_int32) -> int:
    return ctypes.addressof(structure)


def _field(field: Field) -> structures.Field:
    grid, bricks = field.grid, field.bricks
    size = grid.voxel_size
    return structures.Field(
        bricks=bricks.bricks.data_ptr(),
        brick_density=bricks.brick_density.data_ptr(),
        brick_rows=bricks.brick_rows.data_ptr(),
        rows=grid.rows.data_ptr(),
        row_positions=bricks.row_positions.data_ptr(),
        row_position_start=bricks.row_position_start.data_ptr(),
        clip_min=bricks.clip_min,
        clip_max=bricks.clip_max,
        origin=tuple(o + index * h for o, index, h in zip(grid.origin, bricks.offset, size, strict=True)),
        inverse_voxel_size=tuple(1 / h for h in size),
        brick_count=bricks.brick_count,
        row_count=grid.active_voxels,
    )


def _settings(
    settings: MarchSettings, gradient_scale: float = 0, targets_are_gradients: bool = False, opacity_weight: float = 0
) -> structures.Settings:
    linear = settings.compositing is Compositing.LINEAR
    background = torch.tensor(settings.background, dtype=torch.float64)
    return structures.Settings(
        step=settings.step,
        weight_threshold=settings.weight_threshold,
        transmittance_threshold=settings.transmittance_threshold,
        background=tuple((decode_srgb(background) if linear else background).tolist()),
        gradient_scale=gradient_scale,
        linear=linear,
        targets_are_gradients=targets_are_gradients,
        opacity_weight=opacity_weight,
    )


def _rmsprop(gradients: GradientBuffers, rates: RmsPropRates) -> structures.RmsProp:
    return structures.RmsProp(
        gradients=gradients.rows.data_ptr(),
        mean_square=gradients.mean_square.data_ptr(),
        visibility=gradients.visibility.data_ptr(),
        greatest_visibility=gradients.greatest_visibility.data_ptr(),
        density_rate=rates.density,
        sh_rate=rates.sh,
        decay=rates.decay,
        density_epsilon=rates.density_epsilon,
        sh_epsilon=rates.sh_epsilon,
    )


def _statistics(works: Sequence[structures.Work], pixels: torch.Tensor, targets: torch.Tensor) -> BatchStatistics:
    """What was counted; `pixels` are used up."""
    return BatchStatistics(
        squared_error=sum(work.loss for work in works),
        marched=sum(work.marched for work in works),
        coloured=sum(work.coloured for work in works),
        ray_errors=pixels.sub_(targets).square_().sum(1),
    )


class CpuKernels:
    """Kernels for tensors in main memory (interface.Kernels)."""

    def __init__(self, threads: int | None = None, adding: Adding = Adding.EXACT) -> None:
        """Starts the threads.

        Args:
            threads: None: all that this process may use.
            adding: how they add gradients.
        """
        start_warp()
        self.device = torch.device("cpu")
        self._pool = ThreadPool(threads)
        self.description = f"cpu ({self._pool.threads} thread{'s' if self._pool.threads > 1 else ''})"
        self._locks = torch.zeros(structures.LOCK_COUNT, dtype=torch.uint8)
        self._scratch: list[torch.Tensor] = []
        # One thread adds in the order of the rays anyway.
        self._adding = adding if self._pool.threads > 1 else Adding.RACING
        self._ordered = OrderedGradients(self._pool) if self._adding is Adding.ORDERED else None
        self.batches_together = _BATCHES_TOGETHER if self._adding is Adding.RACING else 1
        listed = _MOST_TOUCHED if self._adding is Adding.RACING else 0
        self._touched = [torch.empty(listed, dtype=torch.int32) for _ in range(self._pool.threads)]

    def prepare(self, sh_degree: int) -> None:
        native_kernels(sh_degree)

    def render(self, field: Field, rays: RayBatch, settings: MarchSettings) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, transmittance = torch.empty(len(rays), 3), torch.empty(len(rays))
        self._march(field, rays, None, _settings(settings), None, pixels, transmittance)
        return pixels, transmittance

    def loss_gradients(
        self,
        field: Field,
        rays: RayBatch,
        targets: torch.Tensor,
        settings: MarchSettings,
        gradients: GradientBuffers,
        opacity: OpacityTargets | None = None,
    ) -> BatchStatistics:
        scale, pixels = 2 / (3 * max(1, len(rays))), torch.empty(len(rays), 3)
        native_settings = _settings(settings, scale, opacity_weight=opacity.weight if opacity else 0)
        opacities = opacity.values if opacity else None
        works = self._march(field, rays, targets, native_settings, gradients, pixels, None, opacities)
        return _statistics(works, pixels, targets)

    def train(
        self,
        field: Field,
        rays: RayBatch,
        targets: torch.Tensor,
        settings: MarchSettings,
        gradients: GradientBuffers,
        rates: RmsPropRates,
        opacity: OpacityTargets | None = None,
        batches: int = 1,
    ) -> BatchStatistics:
        if self.batches_together == 1:
            statistics = self.loss_gradients(field, rays, targets, settings, gradients, opacity)
        else:
            pixels, opacities = torch.empty(len(rays), 3), opacity.values if opacity else None
            scale = 2 * batches / (3 * max(1, len(rays)))
            native_settings = _settings(settings, scale, opacity_weight=opacity.weight if opacity else 0)
            works = self._march(field, rays, targets, native_settings, gradients, pixels, None, opacities, rates)
            statistics = _statistics(works, pixels, targets)
        self.rmsprop_step(field, gradients, rates)
        return statistics

    def pixel_gradients(
        self,
        field: Field,
        rays: RayBatch,
        by_pixel: torch.Tensor,
        settings: MarchSettings,
        gradients: GradientBuffers,
        by_transmittance: torch.Tensor | None = None,
    ) -> None:
        native_settings = _settings(settings, 1, targets_are_gradients=True)
        pixels = torch.empty(len(rays), 3)
        self._march(field, rays, by_pixel, native_settings, gradients, pixels, None, by_transmittance)

    def rmsprop_step(self, field: Field, gradients: GradientBuffers, rates: RmsPropRates) -> int:
        native, native_field = self._native(field), _field(field)
        state = _rmsprop(gradients, rates)
        touched = [0] * self._pool.threads

        def step(worker: int, begin: int, end: int) -> None:
            counted = ctypes.c_int32()
            arguments = [_address(native_field), _address(state), _address(counted), begin, end]
            wp.launch(native.rmsprop, dim=1, inputs=arguments, device="cpu")
            touched[worker] += counted.value

        self._pool.run(field.grid.active_voxels, step, smallest_chunk=4096)
        return sum(touched)

    def total_variation(
        self, field: Field, gradients: GradientBuffers, first: int, count: int, density_scale: float, sh_scale: float
    ) -> None:
        native, native_field, native_gradients = self._native(field), _field(field), self._gradients(gradients)
        settings = structures.TotalVariation(density_scale=density_scale, sh_scale=sh_scale)

        def add(to: structures.Gradients, begin: int, end: int) -> None:
            arguments = [_address(native_field), _address(to), _address(settings), first, begin, end]
            wp.launch(native.total_variation, dim=1, inputs=arguments, device="cpu")

        if self._ordered is None:
            self._pool.run(count, lambda _, begin, end: add(native_gradients, begin, end), smallest_chunk=256)
        else:  # each owner looks at all of them and adds to its own rows
            self._ordered.for_owners(native_gradients, lambda owned: add(owned, 0, count))

    def resample(self, field: Field, coordinates: torch.Tensor, ratio: tuple[float, float, float]) -> torch.Tensor:
        native, native_field = self._native(field), _field(field)
        coordinates = coordinates.to(torch.int32).contiguous()
        rows = huge_page_zeros((len(coordinates), field.grid.layout.width))
        work = structures.Resample(
            coordinates=coordinates.data_ptr(), rows=rows.data_ptr(), ratio=ratio, offset=field.bricks.offset
        )

        def fill(worker: int, begin: int, end: int) -> None:
            arguments = [_address(native_field), _address(work), begin, end]
            wp.launch(native.resample, dim=1, inputs=arguments, device="cpu")

        self._pool.run(len(coordinates), fill, smallest_chunk=4096)
        return rows

    def _native(self, field: Field) -> NativeKernels:
        return native_kernels(field.grid.sh_degree)

    def _gradients(self, gradients: GradientBuffers) -> structures.Gradients:
        return structures.Gradients(
            rows=gradients.rows.data_ptr(),
            visibility=gradients.visibility.data_ptr(),
            locks=0 if self._adding is Adding.RACING else self._locks.data_ptr(),
        )

    def _march(
        self,
        field: Field,
        rays: RayBatch,
        targets: torch.Tensor | None,
        settings: structures.Settings,
        gradients: GradientBuffers | None,
        pixels: torch.Tensor,
        transmittance: torch.Tensor | None,
        opacities: torch.Tensor | None = None,
        rates: RmsPropRates | None = None,
    ) -> list[structures.Work]:
        """Renders, or adds gradients, or also steps with them where `rates` are given; what each worker counted."""
        if targets is not None:
            check_targets(rays, targets, opacities)
        native, native_field = self._native(field), _field(field)
        native_gradients = self._gradients(gradients) if gradients is not None else structures.Gradients()
        native_rays = structures.Rays(
            origins=rays.origins.data_ptr(),
            directions=rays.directions.data_ptr(),
            targets=targets.data_ptr() if targets is not None else 0,
            opacities=opacities.data_ptr() if opacities is not None else 0,
            jitter=rays.jitter.data_ptr() if rays.jitter is not None else 0,
            pixels=pixels.data_ptr(),
            transmittance=transmittance.data_ptr() if transmittance is not None else 0,
        )
        works = self._works(field, settings.step)
        kernel = native.render if gradients is None else native.render_with_gradients
        scene = [_address(native_field), _address(native_rays), _address(settings), _address(native_gradients)]

        def march(work: int, begin: int, end: int) -> None:
            wp.launch(kernel, dim=1, inputs=[*scene, work, begin, end], device="cpu")

        if gradients is not None and rates is not None:
            state = _rmsprop(gradients, rates)

            def train(worker: int, begin: int, end: int) -> None:
                arguments = [*scene, _address(state), _address(works[worker]), _RAYS_A_STEP, begin, end]
                wp.launch(native.train, dim=1, inputs=arguments, device="cpu")

            self._pool.run(len(rays), train, smallest_chunk=_RAYS_A_STEP)
            return works

        def scatter(owned: int, lists: int, count: int) -> None:
            arguments = [_address(native_field), _address(native_rays), owned, lists, count]
            wp.launch(native.scatter_owned, dim=1, inputs=arguments, device="cpu")

        if gradients is not None and self._ordered is not None:
            return self._ordered.add(len(rays), works, native_gradients, march, scatter)
        self._pool.run(len(rays), lambda worker, begin, end: march(_address(works[worker]), begin, end))
        return works

    def _works(self, field: Field, step: float) -> list[structures.Work]:
        """Scratch memory for each worker that holds every sample of the longest possible ray."""
        bricks = field.bricks
        edges = [(b - a) * h for a, b, h in zip(bricks.clip_min, bricks.clip_max, field.grid.voxel_size, strict=True)]
        capacity = math.ceil(math.hypot(*edges) / step) + 16
        size = capacity * structures.SAMPLE_BYTES
        if not self._scratch or self._scratch[0].numel() < size:
            self._scratch = [torch.empty(size, dtype=torch.uint8) for _ in range(self._pool.threads)]
        works = [structures.Work(samples=part.data_ptr(), sample_capacity=capacity) for part in self._scratch]
        for work, rows in zip(works, self._touched, strict=True):
            work.touched = structures.TouchedRows(rows=rows.data_ptr(), capacity=len(rows))
        return works
