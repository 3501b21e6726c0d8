"""The structures of kernels/native/layout.h and of the headers in native/, member for member; pointers are addresses.

Whoever fills one keeps the tensors behind its addresses alive until the kernels have been launched: torch reuses memory
only for what is queued behind them.
"""

from __future__ import annotations

import warp as wp


@wp.struct
class Field:
    bricks: wp.uint64
    brick_density: wp.uint64
    brick_rows: wp.uint64
    rows: wp.uint64
    row_positions: wp.uint64
    row_position_start: wp.uint64
    clip_min: wp.vec3
    clip_max: wp.vec3
    origin: wp.vec3
    inverse_voxel_size: wp.vec3
    brick_count: wp.vec3i
    row_count: wp.int32


@wp.struct
class Rays:
    origins: wp.uint64
    directions: wp.uint64
    targets: wp.uint64
    opacities: wp.uint64
    jitter: wp.uint64
    pixels: wp.uint64
    transmittance: wp.uint64


@wp.struct
class Settings:
    step: wp.float32
    weight_threshold: wp.float32
    transmittance_threshold: wp.float32
    background: wp.vec3
    gradient_scale: wp.float32
    linear: wp.int32
    targets_are_gradients: wp.int32
    opacity_weight: wp.float32


@wp.struct
class Gradients:
    rows: wp.uint64
    visibility: wp.uint64
    totals: wp.uint64


@wp.struct
class RmsProp:
    gradients: wp.uint64
    mean_square: wp.uint64
    visibility: wp.uint64
    greatest_visibility: wp.uint64
    touched: wp.uint64
    density_rate: wp.float32
    sh_rate: wp.float32
    decay: wp.float32
    density_epsilon: wp.float32
    sh_epsilon: wp.float32


@wp.struct
class TotalVariation:
    density_scale: wp.float32
    sh_scale: wp.float32


@wp.struct
class Resample:
    coordinates: wp.uint64
    rows: wp.uint64
    ratio: wp.vec3
    offset: wp.vec3i
