"""Device functions shared by the Warp kernels: where samples lie, what they weigh, what they show."""

from __future__ import annotations

from typing import Any

import warp as wp

from plenoxels.kernels.cuda.structures import FieldArrays, SettingValues

BRICK_STRIDE = wp.constant(736)


@wp.struct
class RayState:
    """A ray in vertices of the field, from its first to behind its last possible sample."""

    origin: wp.vec3
    direction: wp.vec3
    inverse: wp.vec3
    near: wp.float32
    far: wp.float32


@wp.struct
class Cell:
    """Where a sample lies: the place of its cell's first corner in the records, and where in the cell, 0 to 1."""

    place: wp.int32
    fraction: wp.vec3


@wp.func
def corner_place(corner: int) -> int:
    """Offset of a cell's corner (bits x, y, z) in a record of 9^3 vertices."""
    return (corner >> 2) * 81 + ((corner >> 1) & 1) * 9 + (corner & 1)


@wp.func
def corner_weight(corner: int, f: wp.vec3) -> float:
    """Trilinear weight of a corner."""
    x = wp.where((corner >> 2) == 1, f[0], 1.0 - f[0])
    y = wp.where(((corner >> 1) & 1) == 1, f[1], 1.0 - f[1])
    z = wp.where((corner & 1) == 1, f[2], 1.0 - f[2])
    return x * y * z


@wp.func
def enter(field: FieldArrays, origin: wp.vec3, direction: wp.vec3, jitter: float, step: float) -> RayState:
    """Clips a world-space ray to the box of cells with an active corner."""
    ray = RayState()
    ray.origin = wp.cw_mul(origin - field.origin, field.inverse_voxel_size)
    ray.direction = wp.cw_mul(direction, field.inverse_voxel_size)
    near = float(0.0)
    far = float(3.0e38)
    for axis in range(3):
        d = ray.direction[axis]
        if wp.abs(d) < 1.0e-12:
            d = 1.0e-12
        ray.inverse[axis] = 1.0 / d
        t0 = (field.clip_min[axis] - ray.origin[axis]) / d
        t1 = (field.clip_max[axis] - ray.origin[axis]) / d
        near = wp.max(near, wp.min(t0, t1))
        far = wp.min(far, wp.max(t0, t1))
    if near >= far:
        far = -1.0
    ray.near = near + jitter * step
    ray.far = far
    return ray


@wp.func
def cell_axis(field: FieldArrays, position: float, axis: int) -> int:
    return wp.clamp(int(position), 0, int(field.clip_max[axis]) - 1)


@wp.func
def brick_at(field: FieldArrays, x: int, y: int, z: int) -> int:
    """A cell's brick: its record, or minus the distance to the nearest one that has a record."""
    return field.bricks[((x >> 3) * field.brick_count[1] + (y >> 3)) * field.brick_count[2] + (z >> 3)]


@wp.func
def locate(field: FieldArrays, ray: RayState, t: float) -> Cell:
    """The cell of a sample; its place is -1 in an empty brick."""
    position = ray.origin + t * ray.direction
    x = cell_axis(field, position[0], 0)
    y = cell_axis(field, position[1], 1)
    z = cell_axis(field, position[2], 2)
    cell = Cell()
    cell.fraction = position - wp.vec3(float(x), float(y), float(z))
    brick = brick_at(field, x, y, z)
    cell.place = -1
    if brick > 0:
        cell.place = brick * BRICK_STRIDE + (x & 7) * 81 + (y & 7) * 9 + (z & 7)
    return cell


@wp.func
def steps_to_skip(field: FieldArrays, ray: RayState, k: int, step: float) -> int:
    """The next sample worth a look, after sample k fell into an empty brick."""
    position = ray.origin + (ray.near + float(k) * step) * ray.direction
    x = cell_axis(field, position[0], 0)
    y = cell_axis(field, position[1], 1)
    z = cell_axis(field, position[2], 2)
    reach = -brick_at(field, x, y, z) - 1
    brick = wp.vec3i(x >> 3, y >> 3, z >> 3)
    leave = float(3.0e38)
    for axis in range(3):
        edge = wp.where(ray.direction[axis] > 0.0, brick[axis] + 1 + reach, brick[axis] - reach)
        leave = wp.min(leave, (float(edge * 8) - ray.origin[axis]) * ray.inverse[axis])
    return wp.max(k + 1, int(wp.min(wp.ceil((leave - ray.near) / step), 1.0e9)))


@wp.func
def density_at(field: FieldArrays, cell: Cell) -> float:
    """Interpolated extinction, clamped to 0."""
    sigma = float(0.0)
    for corner in range(8):
        sigma += corner_weight(corner, cell.fraction) * field.brick_density[cell.place + corner_place(corner)]
    return wp.max(sigma, 0.0)


@wp.func
def decode(value: float) -> float:
    """Light of an sRGB-encoded value >= 0 (contracts/vdb.md)."""
    if value <= 0.04045:
        return value / 12.92
    return wp.pow((value + 0.055) / 1.055, 2.4)


@wp.func
def decode_slope(value: float) -> float:
    if value <= 0.04045:
        return 1.0 / 12.92
    return 2.4 / 1.055 * wp.pow((value + 0.055) / 1.055, 1.4)


@wp.func
def encode(light: float) -> float:
    if light <= 0.0031308:
        return 12.92 * light
    return 1.055 * wp.pow(light, 1.0 / 2.4) - 0.055


@wp.func
def encode_slope(light: float) -> float:
    if light <= 0.0031308:
        return 12.92
    return 1.055 / 2.4 * wp.pow(light, 1.0 / 2.4 - 1.0)


@wp.func
def shown(settings: SettingValues, value: wp.vec3) -> wp.vec3:
    """What a sample adds to the composite, from its unclamped value."""
    clamped = wp.vec3(wp.max(value[0], 0.0), wp.max(value[1], 0.0), wp.max(value[2], 0.0))
    if settings.linear == 0:
        return clamped
    return wp.vec3(decode(clamped[0]), decode(clamped[1]), decode(clamped[2]))


@wp.func
def shown_slope(settings: SettingValues, value: float) -> float:
    """d shown / d value of one channel; 0 where the value is clamped."""
    if value <= 0.0:
        return 0.0
    if settings.linear == 0:
        return 1.0
    return decode_slope(value)


def harmonics_function(degree: int) -> tuple[Any, Any]:
    """The vector type for (degree + 1)^2 harmonics and a Warp function of a unit direction that fills it."""
    vector = wp.types.vector(length=(degree + 1) ** 2, dtype=wp.float32)

    @wp.func
    def harmonics(d: wp.vec3):
        x = d[0]
        y = d[1]
        z = d[2]
        h = vector()
        h[0] = 0.28209479177387814
        if wp.static(degree >= 1):
            h[1] = -0.4886025119029199 * y
            h[2] = 0.4886025119029199 * z
            h[3] = -0.4886025119029199 * x
        if wp.static(degree >= 2):
            h[4] = 1.0925484305920792 * x * y
            h[5] = -1.0925484305920792 * y * z
            h[6] = 0.31539156525252005 * (2.0 * z * z - x * x - y * y)
            h[7] = -1.0925484305920792 * x * z
            h[8] = 0.5462742152960396 * (x * x - y * y)
        if wp.static(degree >= 3):
            h[9] = -0.5900435899266435 * y * (3.0 * x * x - y * y)
            h[10] = 2.890611442640554 * x * y * z
            h[11] = -0.4570457994644658 * y * (4.0 * z * z - x * x - y * y)
            h[12] = 0.3731763325901154 * z * (2.0 * z * z - 3.0 * x * x - 3.0 * y * y)
            h[13] = -0.4570457994644658 * x * (4.0 * z * z - x * x - y * y)
            h[14] = 1.445305721320277 * z * (x * x - y * y)
            h[15] = -0.5900435899266435 * x * (x * x - 3.0 * y * y)
        return h

    return vector, harmonics
