"""What the Warp kernels read: the field's arrays and the march's settings (filled by arrays.py)."""

from __future__ import annotations

import warp as wp


@wp.struct
class FieldArrays:
    bricks: wp.array(dtype=wp.int32)
    brick_density: wp.array(dtype=wp.float32)
    brick_rows: wp.array(dtype=wp.int32)
    rows: wp.array(dtype=wp.float32)
    row_positions: wp.array(dtype=wp.int32)
    row_position_start: wp.array(dtype=wp.int32)
    clip_min: wp.vec3
    clip_max: wp.vec3
    origin: wp.vec3
    inverse_voxel_size: wp.vec3
    brick_count: wp.vec3i
    row_count: wp.int32


@wp.struct
class SettingValues:
    step: wp.float32
    weight_threshold: wp.float32
    transmittance_threshold: wp.float32
    background: wp.vec3
    gradient_scale: wp.float32
    linear: wp.int32
    targets_are_gradients: wp.int32
