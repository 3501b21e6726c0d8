"""Kernels written in Warp's Python: for CUDA, and on the CPU as a check of their numbers."""

from __future__ import annotations

from typing import Any

import torch
import warp as wp

from plenoxels.kernels.cuda.arrays import field_arrays, flat, setting_values
from plenoxels.kernels.cuda.warp_kernels import warp_kernels
from plenoxels.kernels.interface import (
    BatchStatistics,
    Field,
    GradientBuffers,
    MarchSettings,
    RayBatch,
    RmsPropRates,
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
        name = f" {torch.cuda.get_device_name(self.device)}" if self.device.type == "cuda" else " (Warp kernels)"
        self.description = f"{self.device}{name}"

    def prepare(self, sh_degree: int) -> None:
        wp.load_module(warp_kernels(sh_degree).module, device=self._warp_device)

    def render(self, field: Field, rays: RayBatch, settings: MarchSettings) -> tuple[torch.Tensor, torch.Tensor]:
        _, pixels, transmittance = self._render(field, rays, setting_values(settings))
        return pixels, transmittance

    def loss_gradients(
        self, field: Field, rays: RayBatch, targets: torch.Tensor, settings: MarchSettings, gradients: GradientBuffers
    ) -> BatchStatistics:
        scale = 2 / (3 * max(1, len(rays)))
        return self._gradients(field, rays, targets, setting_values(settings, scale), gradients)

    def pixel_gradients(
        self, field: Field, rays: RayBatch, by_pixel: torch.Tensor, settings: MarchSettings, gradients: GradientBuffers
    ) -> None:
        self._gradients(field, rays, by_pixel, setting_values(settings, 1.0, targets_are_gradients=True), gradients)

    def rmsprop_step(self, field: Field, gradients: GradientBuffers, rates: RmsPropRates) -> int:
        kernels, arrays, count = warp_kernels(field.grid.sh_degree), field_arrays(field), field.grid.active_voxels
        visibility = flat(gradients.visibility)
        self._launch(
            kernels.rmsprop,
            (count, field.grid.layout.width),
            [
                arrays,
                flat(gradients.rows),
                flat(gradients.mean_square),
                visibility,
                rates.density,
                rates.sh,
                rates.decay,
                rates.density_epsilon,
                rates.sh_epsilon,
            ],
        )
        touched = torch.zeros(1, dtype=torch.int32, device=self.device)
        self._launch(
            kernels.finish_step, count, [arrays, visibility, flat(gradients.greatest_visibility), flat(touched)]
        )
        return int(touched)

    def total_variation(
        self, field: Field, gradients: GradientBuffers, first: int, count: int, density_scale: float, sh_scale: float
    ) -> None:
        kernels = warp_kernels(field.grid.sh_degree)
        self._launch(
            kernels.total_variation,
            (count, field.grid.layout.width),
            [field_arrays(field), flat(gradients.rows), flat(gradients.visibility), first, density_scale, sh_scale],
        )

    def resample(self, field: Field, coordinates: torch.Tensor, ratio: tuple[float, float, float]) -> torch.Tensor:
        rows = torch.zeros(len(coordinates), field.grid.layout.width, device=self.device)
        inputs = [
            field_arrays(field),
            wp.from_torch(coordinates.to(torch.int32).contiguous(), dtype=wp.vec3i),
            wp.vec3(*ratio),
            wp.vec3i(*field.bricks.offset),
            flat(rows),
        ]
        self._launch(warp_kernels(field.grid.sh_degree).resample, len(coordinates), inputs)
        return rows

    def _render(self, field: Field, rays: RayBatch, settings: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        composites, pixels = torch.empty(2, len(rays), 3, device=self.device)
        transmittance = torch.empty(len(rays), device=self.device)
        self._launch(
            warp_kernels(field.grid.sh_degree).render,
            len(rays),
            [
                field_arrays(field),
                settings,
                *self._ray_arrays(rays),
                wp.from_torch(composites, dtype=wp.vec3),
                wp.from_torch(pixels, dtype=wp.vec3),
                flat(transmittance),
            ],
        )
        return composites, pixels, transmittance

    def _gradients(
        self, field: Field, rays: RayBatch, targets: torch.Tensor, settings: Any, gradients: GradientBuffers
    ) -> BatchStatistics:
        composites, pixels, _ = self._render(field, rays, settings)
        squared_errors = torch.empty(len(rays), device=self.device)
        coloured = torch.empty(len(rays), dtype=torch.int32, device=self.device)
        self._launch(
            warp_kernels(field.grid.sh_degree).gradients,
            len(rays),
            [
                field_arrays(field),
                settings,
                *self._ray_arrays(rays),
                wp.from_torch(composites, dtype=wp.vec3),
                wp.from_torch(pixels, dtype=wp.vec3),
                wp.from_torch(targets, dtype=wp.vec3),
                flat(gradients.rows),
                flat(gradients.visibility),
                flat(squared_errors),
                flat(coloured),
            ],
        )
        samples = int(coloured.sum())
        return BatchStatistics(squared_error=float(squared_errors.double().sum()), marched=samples, coloured=samples)

    def _ray_arrays(self, rays: RayBatch) -> list[Any]:
        jitter = rays.jitter if rays.jitter is not None else torch.empty(0, device=self.device)
        return [wp.from_torch(rays.origins, dtype=wp.vec3), wp.from_torch(rays.directions, dtype=wp.vec3), flat(jitter)]

    def _launch(self, kernel: Any, dim: int | tuple[int, ...], inputs: list[Any]) -> None:
        stream = wp.stream_from_torch(torch.cuda.current_stream(self.device)) if self.device.type == "cuda" else None
        wp.launch(kernel, dim=dim, inputs=inputs, device=self._warp_device, stream=stream)
