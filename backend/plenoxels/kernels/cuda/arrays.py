"""Fills the Warp kernels' structures from a field and its settings; they share the tensors' memory."""

from __future__ import annotations

from typing import Any

import torch
import warp as wp

from plenoxels.colour import decode_srgb
from plenoxels.config import Compositing
from plenoxels.kernels.cuda.structures import FieldArrays, SettingValues
from plenoxels.kernels.interface import Field, MarchSettings


def flat(tensor: torch.Tensor) -> Any:
    """A Warp array over a tensor's memory, one-dimensional."""
    return wp.from_torch(tensor.view(-1), requires_grad=False)


def field_arrays(field: Field) -> Any:
    """The Warp structure of a field; it shares the tensors' memory."""
    grid, bricks = field.grid, field.bricks
    arrays = FieldArrays()
    arrays.bricks = flat(bricks.bricks)
    arrays.brick_density = flat(bricks.brick_density)
    arrays.brick_rows = flat(bricks.brick_rows)
    arrays.rows = flat(grid.rows)
    arrays.row_positions = flat(bricks.row_positions)
    arrays.row_position_start = flat(bricks.row_position_start)
    arrays.clip_min = wp.vec3(*(float(c) for c in bricks.clip_min))
    arrays.clip_max = wp.vec3(*(float(c) for c in bricks.clip_max))
    size = grid.voxel_size
    arrays.origin = wp.vec3(*(o + i * h for o, i, h in zip(grid.origin, bricks.offset, size, strict=True)))
    arrays.inverse_voxel_size = wp.vec3(*(1 / h for h in size))
    arrays.brick_count = wp.vec3i(*bricks.brick_count)
    arrays.row_count = grid.active_voxels
    return arrays


def setting_values(settings: MarchSettings, gradient_scale: float = 0.0, targets_are_gradients: bool = False) -> Any:
    """The Warp structure of a march's settings; the background is decoded where light is composited."""
    linear = settings.compositing is Compositing.LINEAR
    background = torch.tensor(settings.background, dtype=torch.float64)
    values = SettingValues()
    values.step = settings.step
    values.weight_threshold = settings.weight_threshold
    values.transmittance_threshold = settings.transmittance_threshold
    values.background = wp.vec3(*(decode_srgb(background) if linear else background).tolist())
    values.gradient_scale = gradient_scale
    values.linear = int(linear)
    values.targets_are_gradients = int(targets_are_gradients)
    return values
