"""Kernels for CUDA: a warp works on each ray. They run on the CPU too, one lane alone, as a check of their numbers."""

from __future__ import annotations

from typing import Any

import torch
import warp as wp

from plenoxels.kernels.cuda import structures
from plenoxels.kernels.cuda.arrays import address, native_field, native_gradients, native_rays, native_settings
from plenoxels.kernels.cuda.native_module import BLOCK_THREADS, LANES, cuda_module
from plenoxels.kernels.interface import (
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


class CudaKernels:
    """Kernels for tensors on a CUDA device (interface.Kernels). `cpu` runs the same code slowly, for tests."""

    def __init__(self, device: str = "cuda") -> None:
        start_warp()
        self.device = torch.device(device)
        if self.device == torch.device("cuda"):
            self.device = torch.device("cuda", torch.cuda.current_device())
        self._warp_device = wp.device_from_torch(self.device)
        self._lanes = LANES if self.device.type == "cuda" else 1
        name = f" {torch.cuda.get_device_name(self.device)}" if self.device.type == "cuda" else " (Warp kernels)"
        self.description = f"{self.device}{name}"
        self.batches_together = 1

    def prepare(self, sh_degree: int) -> None:
        block = BLOCK_THREADS if self.device.type == "cuda" else 1
        wp.load_module(cuda_module(sh_degree).module, device=self._warp_device, block_dim=block)

    def render(self, field: Field, rays: RayBatch, settings: MarchSettings) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.empty(len(rays), 3, device=self.device)
        transmittance = torch.empty(len(rays), device=self.device)
        native = native_rays(rays, pixels=pixels, transmittance=transmittance)
        arguments = [native_field(field), native, native_settings(settings), native_gradients(None)]
        self._launch(field, "render", (len(rays), self._lanes), arguments)
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
        totals = torch.zeros(3, dtype=torch.float64, device=self.device)
        scale, pixels = 2 / (3 * max(1, len(rays))), torch.empty(len(rays), 3, device=self.device)
        native = native_settings(settings, scale, opacity_weight=opacity.weight if opacity else 0.0)
        opacities = opacity.values if opacity else None
        check_targets(rays, targets, opacities)
        wanted = native_rays(rays, targets, opacities, pixels)
        self._gradients(field, len(rays), wanted, native, native_gradients(gradients, totals))
        squared_error, marched, coloured = totals.tolist()  # the step's one wait for the device
        return BatchStatistics(squared_error, int(marched), int(coloured), pixels.sub_(targets).square_().sum(1))

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
        statistics = self.loss_gradients(field, rays, targets, settings, gradients, opacity)
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
        native = native_settings(settings, 1.0, targets_are_gradients=True)
        check_targets(rays, by_pixel, by_transmittance)
        wanted = native_rays(rays, by_pixel, by_transmittance)
        self._gradients(field, len(rays), wanted, native, native_gradients(gradients))

    def rmsprop_step(self, field: Field, gradients: GradientBuffers, rates: RmsPropRates) -> int:
        touched = torch.zeros(1, dtype=torch.int32, device=self.device)
        state = structures.RmsProp()
        state.gradients = address(gradients.rows)
        state.mean_square = address(gradients.mean_square)
        state.visibility = address(gradients.visibility)
        state.greatest_visibility = address(gradients.greatest_visibility)
        state.touched = address(touched)
        state.density_rate, state.sh_rate, state.decay = rates.density, rates.sh, rates.decay
        state.density_epsilon, state.sh_epsilon = rates.density_epsilon, rates.sh_epsilon
        groups = -(-field.grid.active_voxels // self._lanes)
        self._launch(field, "rmsprop", (groups, self._lanes), [native_field(field), state])
        return int(touched)

    def total_variation(
        self, field: Field, gradients: GradientBuffers, first: int, count: int, density_scale: float, sh_scale: float
    ) -> None:
        variation = structures.TotalVariation()
        variation.density_scale, variation.sh_scale = density_scale, sh_scale
        arguments = [native_field(field), native_gradients(gradients), variation, first]
        self._launch(field, "total_variation", (count, field.grid.layout.width), arguments)

    def resample(self, field: Field, coordinates: torch.Tensor, ratio: tuple[float, float, float]) -> torch.Tensor:
        coordinates = coordinates.to(self.device, torch.int32).contiguous()
        rows = torch.zeros(len(coordinates), field.grid.layout.width, device=self.device)
        work = structures.Resample()
        work.coordinates, work.rows = address(coordinates), address(rows)
        work.ratio, work.offset = wp.vec3(*ratio), wp.vec3i(*field.bricks.offset)
        self._launch(field, "resample", tuple(rows.shape), [native_field(field), work])
        return rows

    def _gradients(self, field: Field, rays: int, native: Any, settings: Any, gradients: Any) -> None:
        arguments = [native_field(field), native, settings, gradients]
        self._launch(field, "render_with_gradients", (rays, self._lanes), arguments)

    def _launch(self, field: Field, kernel: str, dim: tuple[int, ...], arguments: list[Any]) -> None:
        """Queues a kernel behind torch's own work."""
        on_gpu = self.device.type == "cuda"
        wp.launch(
            getattr(cuda_module(field.grid.sh_degree), kernel),
            dim=dim,
            inputs=arguments,
            device=self._warp_device,
            stream=wp.stream_from_torch(torch.cuda.current_stream(self.device)) if on_gpu else None,
            block_dim=BLOCK_THREADS,  # whole warps, so that none is split between rays
        )
