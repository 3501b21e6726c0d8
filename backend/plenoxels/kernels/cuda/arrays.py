"""Fills the native structures from a field, rays and settings; they share the tensors' memory."""

from __future__ import annotations

from typing import Any

import torch
import warp as wp

from plenoxels.colour import decode_srgb
from plenoxels.config import Compositing
from plenoxels.kernels.cuda import structures
from plenoxels.kernels.interface import Field, GradientBuffers, MarchSettings, RayBatch


def address(tensor: torch.Tensor | None) -> int:
    """Where a contiguous tensor's numbers start; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


def native_field(field: Field) -> Any:
    """The structure of a field."""
    grid, bricks = field.grid, field.bricks
    size = grid.voxel_size
    native = structures.Field()
    native.bricks = address(bricks.bricks)
    native.brick_density = address(bricks.brick_density)
    native.brick_rows = address(bricks.brick_rows)
    native.rows = address(grid.rows)
    native.row_positions = address(bricks.row_positions)
    native.row_position_start = address(bricks.row_position_start)
    native.clip_min = wp.vec3(*(float(c) for c in bricks.clip_min))
    native.clip_max = wp.vec3(*(float(c) for c in bricks.clip_max))
    native.origin = wp.vec3(*(o + i * h for o, i, h in zip(grid.origin, bricks.offset, size, strict=True)))
    native.inverse_voxel_size = wp.vec3(*(1 / h for h in size))
    native.brick_count = wp.vec3i(*bricks.brick_count)
    native.row_count = grid.active_voxels
    return native


def native_settings(
    settings: MarchSettings,
    gradient_scale: float = 0.0,
    targets_are_gradients: bool = False,
    opacity_weight: float = 0.0,
) -> Any:
    """The structure of a march's settings; the background is decoded where light is composited."""
    linear = settings.compositing is Compositing.LINEAR
    background = torch.tensor(settings.background, dtype=torch.float64)
    native = structures.Settings()
    native.step = settings.step
    native.weight_threshold = settings.weight_threshold
    native.transmittance_threshold = settings.transmittance_threshold
    native.background = wp.vec3(*(decode_srgb(background) if linear else background).tolist())
    native.gradient_scale = gradient_scale
    native.linear = int(linear)
    native.targets_are_gradients = int(targets_are_gradients)
    native.opacity_weight = opacity_weight
    return native


def native_rays(
    rays: RayBatch,
    targets: torch.Tensor | None = None,
    opacities: torch.Tensor | None = None,
    pixels: torch.Tensor | None = None,
    transmittance: torch.Tensor | None = None,
) -> Any:
    """The structure of rays with what is wanted of them and where their results go."""
    native = structures.Rays()
    native.origins = address(rays.origins)
    native.directions = address(rays.directions)
    native.targets = address(targets)
    native.opacities = address(opacities)
    native.jitter = address(rays.jitter)
    native.pixels = address(pixels)
    native.transmittance = address(transmittance)
    return native


def native_gradients(gradients: GradientBuffers | None, totals: torch.Tensor | None = None) -> Any:
    """The structure of gradient buffers; `totals` is float64 [3]: squared error, samples marched and coloured."""
    native = structures.Gradients()
    native.rows = address(gradients.rows if gradients else None)
    native.visibility = address(gradients.visibility if gradients else None)
    native.totals = address(totals)
    return native
