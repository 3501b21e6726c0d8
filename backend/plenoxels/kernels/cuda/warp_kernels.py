"""The Warp kernels for one spherical-harmonics degree: a thread per ray, and per voxel or number for what follows.

The backward pass marches the ray again, front to back, so that no list of samples is kept: what lies behind a sample
    is the
finished composite minus what has been composited so far.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import warp as wp

from plenoxels.grid import RowLayout
from plenoxels.kernels.cuda.march import (
    BRICK_STRIDE,
    Cell,
    brick_at,
    corner_place,
    corner_weight,
    density_at,
    encode,
    encode_slope,
    enter,
    harmonics_function,
    locate,
    shown,
    shown_slope,
    steps_to_skip,
)
from plenoxels.kernels.cuda.structures import FieldArrays, SettingValues


@dataclass(frozen=True)
class WarpKernels:
    """Kernels for one degree; `module` holds them all."""

    render: Any
    gradients: Any
    rmsprop: Any
    finish_step: Any
    total_variation: Any
    resample: Any
    module: Any


@cache
def warp_kernels(sh_degree: int) -> WarpKernels:
    """The kernels for one degree (0 to 3), for CUDA, or for the CPU to check their numbers."""
    layout = RowLayout(sh_degree)
    width, band_width, density_column = layout.width, layout.band_width, layout.density
    coefficients = layout.coefficients
    _, harmonics = harmonics_function(sh_degree)
    module = wp.get_module(f"plenoxels_warp_degree_{sh_degree}")
    module.options["enable_backward"] = False

    @wp.func
    def column_of(harmonic: int, channel: int) -> int:
        if harmonic == 0:
            return density_column + 1 + channel
        return channel * band_width + harmonic - 1

    @wp.func
    def value_at(field: FieldArrays, cell: Cell, direction: wp.vec3) -> wp.vec3:
        """0.5 + the interpolated harmonics' sum, RGB, not clamped."""
        basis = harmonics(direction)
        value = wp.vec3(0.5, 0.5, 0.5)
        for corner in range(8):
            row = field.brick_rows[cell.place + corner_place(corner)] * width
            weight = corner_weight(corner, cell.fraction)
            for channel in range(3):
                total = float(0.0)
                for k in range(coefficients):
                    total += basis[k] * field.rows[row + column_of(k, channel)]
                value[channel] = value[channel] + weight * total
        return value

    @wp.func
    def weight_code(weight: float) -> wp.uint8:
        """See interface.weight_code; computed from the logarithm, since a kernel cannot see a float's bits."""
        exponent = wp.floor(wp.log2(weight))
        mantissa = wp.floor((weight / wp.pow(2.0, exponent) - 1.0) * 8.0)
        return wp.uint8(wp.clamp(int((exponent + 127.0) * 8.0 + mantissa) - 0x378, 1, 255))

    @wp.kernel(module=module)
    def render(
        field: FieldArrays,
        settings: SettingValues,
        origins: wp.array(dtype=wp.vec3),
        directions: wp.array(dtype=wp.vec3),
        jitter: wp.array(dtype=wp.float32),
        composites: wp.array(dtype=wp.vec3),
        pixels: wp.array(dtype=wp.vec3),
        transmittances: wp.array(dtype=wp.float32),
    ):
        i = wp.tid()
        direction = directions[i]
        start = float(0.5)
        if jitter.shape[0] > 0:
            start = jitter[i]
        ray = enter(field, origins[i], direction, start, settings.step)
        transmittance = float(1.0)
        composite = wp.vec3(0.0, 0.0, 0.0)
        k = int(0)
        while ray.near + float(k) * settings.step < ray.far:
            cell = locate(field, ray, ray.near + float(k) * settings.step)
            if cell.place < 0:
                k = steps_to_skip(field, ray, k, settings.step)
                continue
            k += 1
            sigma = density_at(field, cell)
            if sigma <= 0.0:
                continue
            passed = wp.exp(-settings.step * sigma)
            weight = transmittance * (1.0 - passed)
            transmittance *= passed
            if weight > settings.weight_threshold:
                composite += weight * shown(settings, value_at(field, cell, direction))
            if transmittance < settings.transmittance_threshold:
                break
        composite += transmittance * settings.background
        composites[i] = composite
        transmittances[i] = transmittance
        if settings.linear == 1:
            composite = wp.vec3(encode(composite[0]), encode(composite[1]), encode(composite[2]))
        pixels[i] = composite

    @wp.kernel(module=module)
    def gradients(
        field: FieldArrays,
        settings: SettingValues,
        origins: wp.array(dtype=wp.vec3),
        directions: wp.array(dtype=wp.vec3),
        jitter: wp.array(dtype=wp.float32),
        composites: wp.array(dtype=wp.vec3),
        pixels: wp.array(dtype=wp.vec3),
        targets: wp.array(dtype=wp.vec3),
        gradient_rows: wp.array(dtype=wp.float32),
        visibility: wp.array(dtype=wp.uint8),
        squared_errors: wp.array(dtype=wp.float32),
        coloured: wp.array(dtype=wp.int32),
    ):
        i = wp.tid()
        direction = directions[i]
        total = composites[i]
        difference = pixels[i] - targets[i]
        if settings.targets_are_gradients == 1:
            difference = targets[i]
        squared_errors[i] = wp.dot(difference, difference)
        by_composite = settings.gradient_scale * difference
        if settings.linear == 1:
            for channel in range(3):
                by_composite[channel] = by_composite[channel] * encode_slope(total[channel])
        basis = harmonics(direction)
        start = float(0.5)
        if jitter.shape[0] > 0:
            start = jitter[i]
        ray = enter(field, origins[i], direction, start, settings.step)
        transmittance = float(1.0)
        so_far = wp.vec3(0.0, 0.0, 0.0)
        count = int(0)
        k = int(0)
        while ray.near + float(k) * settings.step < ray.far:
            cell = locate(field, ray, ray.near + float(k) * settings.step)
            if cell.place < 0:
                k = steps_to_skip(field, ray, k, settings.step)
                continue
            k += 1
            sigma = density_at(field, cell)
            if sigma <= 0.0:
                continue
            passed = wp.exp(-settings.step * sigma)
            weight = transmittance * (1.0 - passed)
            transmittance *= passed
            if weight > settings.weight_threshold:
                count += 1
                value = value_at(field, cell, direction)
                light = shown(settings, value)
                so_far += weight * light
                behind = wp.dot(total - so_far, by_composite)
                by_sigma = settings.step * (transmittance * wp.dot(light, by_composite) - behind)
                by_value = wp.vec3(
                    by_composite[0] * weight * shown_slope(settings, value[0]),
                    by_composite[1] * weight * shown_slope(settings, value[1]),
                    by_composite[2] * weight * shown_slope(settings, value[2]),
                )
                code = weight_code(weight)
                for corner in range(8):
                    index = field.brick_rows[cell.place + corner_place(corner)]
                    if index < field.row_count:
                        share = corner_weight(corner, cell.fraction)
                        row = index * width
                        # Two threads may race here; the smaller code can win, which costs nothing but a little
                        # visibility.
                        if visibility[index] < code:
                            visibility[index] = code
                        wp.atomic_add(gradient_rows, row + density_column, share * by_sigma)
                        for channel in range(3):
                            for h in range(coefficients):
                                wp.atomic_add(
                                    gradient_rows, row + column_of(h, channel), share * basis[h] * by_value[channel]
                                )
            if transmittance < settings.transmittance_threshold:
                break
        coloured[i] = count

    @wp.kernel(module=module)
    def rmsprop(
        field: FieldArrays,
        gradient_rows: wp.array(dtype=wp.float32),
        mean_square: wp.array(dtype=wp.float32),
        visibility: wp.array(dtype=wp.uint8),
        density_rate: float,
        sh_rate: float,
        decay: float,
        density_epsilon: float,
        sh_epsilon: float,
    ):
        row, column = wp.tid()
        if visibility[row] > wp.uint8(0):
            place = row * width + column
            rate = wp.where(column == density_column, density_rate, sh_rate)
            epsilon = wp.where(column == density_column, density_epsilon, sh_epsilon)
            gradient = gradient_rows[place]
            mean = decay * mean_square[place] + (1.0 - decay) * gradient * gradient
            mean_square[place] = mean
            field.rows[place] = field.rows[place] - rate * gradient / (wp.sqrt(mean) + epsilon)
            gradient_rows[place] = 0.0

    @wp.kernel(module=module)
    def finish_step(
        field: FieldArrays,
        visibility: wp.array(dtype=wp.uint8),
        greatest_visibility: wp.array(dtype=wp.uint8),
        touched: wp.array(dtype=wp.int32),
    ):
        row = wp.tid()
        if visibility[row] > wp.uint8(0):
            wp.atomic_add(touched, 0, 1)
            if visibility[row] > greatest_visibility[row]:
                greatest_visibility[row] = visibility[row]
            visibility[row] = wp.uint8(0)
            density = field.rows[row * width + density_column]
            for p in range(field.row_position_start[row], field.row_position_start[row + 1]):
                field.brick_density[field.row_positions[p]] = density

    @wp.kernel(module=module)
    def total_variation(
        field: FieldArrays,
        gradient_rows: wp.array(dtype=wp.float32),
        visibility: wp.array(dtype=wp.uint8),
        first: int,
        density_scale: float,
        sh_scale: float,
    ):
        i, column = wp.tid()
        row = (first + i) % field.row_count
        home = field.row_positions[field.row_position_start[row]]
        value = field.rows[row * width + column]
        neighbours = wp.vec3i(field.brick_rows[home + 81], field.brick_rows[home + 9], field.brick_rows[home + 1])
        difference = wp.vec3(0.0, 0.0, 0.0)
        for axis in range(3):
            # Harmonics are not drawn toward missing neighbours, whose colour means nothing; density is.
            if neighbours[axis] < field.row_count or column == density_column:
                difference[axis] = field.rows[neighbours[axis] * width + column] - value
        scale = wp.where(column == density_column, density_scale, sh_scale)
        change = difference * (scale / wp.sqrt(1.0e-9 + wp.dot(difference, difference)))
        wp.atomic_add(gradient_rows, row * width + column, -(change[0] + change[1] + change[2]))
        visibility[row] = wp.max(visibility[row], wp.uint8(1))
        for axis in range(3):
            if neighbours[axis] < field.row_count:
                wp.atomic_add(gradient_rows, neighbours[axis] * width + column, change[axis])
                visibility[neighbours[axis]] = wp.max(visibility[neighbours[axis]], wp.uint8(1))

    @wp.kernel(module=module)
    def resample(
        field: FieldArrays,
        coordinates: wp.array(dtype=wp.vec3i),
        ratio: wp.vec3,
        offset: wp.vec3i,
        out: wp.array(dtype=wp.float32),
    ):
        i = wp.tid()
        voxel = coordinates[i]
        low = wp.vec3i()
        fraction = wp.vec3()
        for axis in range(3):
            position = (float(voxel[axis]) + 0.5) * ratio[axis] - 0.5 - float(offset[axis])
            floor = wp.floor(position)
            low[axis] = int(floor)
            fraction[axis] = position - floor
            if floor < field.clip_min[axis] or floor >= field.clip_max[axis]:
                return
        brick = brick_at(field, low[0], low[1], low[2])
        if brick <= 0:
            return
        place = brick * BRICK_STRIDE + (low[0] & 7) * 81 + (low[1] & 7) * 9 + (low[2] & 7)
        present = float(0.0)
        for corner in range(8):
            index = field.brick_rows[place + corner_place(corner)]
            if index < field.row_count:
                weight = corner_weight(corner, fraction)
                present += weight
                for column in range(width):
                    at = i * width + column
                    out[at] = out[at] + weight * field.rows[index * width + column]
        if present > 1.0e-6:
            for column in range(width):
                if column != density_column:
                    out[i * width + column] = out[i * width + column] / present

    return WarpKernels(render, gradients, rmsprop, finish_step, total_variation, resample, module)
