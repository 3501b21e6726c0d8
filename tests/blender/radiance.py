"""Radiance fields for the tests and an independent renderer of them, both straight from backend/contracts/vdb.md.

Nothing here is shared with the extension: plain numpy, float64.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Field:
    """density: (nx, ny, nz); harmonics: (n, nx, ny, nz, 3); bounds: min and max corner."""

    density: Array
    harmonics: Array
    low: Array
    high: Array
    compositing: str = "linear"
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    training: dict[str, object] = field(default_factory=lambda: {"dataset": "photos/test scene"})

    @property
    def voxel(self) -> Array:
        return (self.high - self.low) / np.array(self.density.shape)

    @property
    def degree(self) -> int:
        return round(len(self.harmonics) ** 0.5) - 1

    def with_(self, **changes: object) -> Field:
        return Field(**{**self.__dict__, **changes})  # type: ignore[arg-type]


def centres(resolution: tuple[int, int, int], low: Array, high: Array) -> Array:
    """Voxel centres, (nx, ny, nz, 3)."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in resolution), indexing="ij"), -1)
    return low + (index + 0.5) * (high - low) / np.array(resolution)


def coefficients(points: Array, degree: int, seed: int = 1) -> Array:
    """Smooth pseudo-random SH coefficients that keep most values between 0 and 1."""
    random = np.random.default_rng(seed)
    bands = []
    for k in range((degree + 1) ** 2):
        wave, phase = random.normal(size=(3, 3)) * 1.2, random.uniform(0, 6.28, 3)
        bands.append(np.sin(points @ wave + phase) * (0.9 if k == 0 else 0.5 / k**0.5))
    return np.stack(bands)


def blob(
    degree: int = 1,
    resolution: tuple[int, int, int] = (26, 20, 18),
    low: tuple[float, float, float] = (-1.1, -0.7, -0.6),
    high: tuple[float, float, float] = (1.0, 0.9, 0.7),
    **changes: object,
) -> Field:
    """A soft cloud that fades out before its bounds; anisotropic voxels, bounds off the origin."""
    a, b = np.array(low), np.array(high)
    points = centres(resolution, a, b)
    unit = (points - (a + b) / 2) / ((b - a) / 2)
    density = 6.0 * np.exp(-3.0 * (unit**2).sum(-1)) * np.clip(1.25 - np.abs(unit).max(-1) * 1.25, 0, 1)
    harmonics = coefficients(points, degree) * (density > 0)[None, ..., None]
    return Field(density / (b - a).max() * 2, harmonics, a, b).with_(**changes)


def shell(degree: int = 1, resolution: tuple[int, int, int] = (32, 32, 32)) -> Field:
    """A thin, nearly opaque sphere: what trained surfaces look like."""
    a, b = np.full(3, -1.0), np.full(3, 1.0)
    points = centres(resolution, a, b)
    distance = np.abs(np.linalg.norm(points, axis=-1) - 0.7) / (2.0 / resolution[0])
    density = 60.0 * np.clip(1.5 - distance, 0, 1)
    return Field(density, coefficients(points, degree) * (density > 0)[None, ..., None], a, b)


def halved(fine: Field) -> Field:
    """The next level of detail: means of 2 x 2 x 2 voxels."""

    def mean(values: Array, first: int) -> Array:
        for axis in range(first, first + 3):
            pairs = np.moveaxis(values, axis, 0)
            values = np.moveaxis((pairs[0::2] + pairs[1::2]) / 2, 0, axis)
        return values

    return fine.with_(density=mean(fine.density, 0), harmonics=mean(fine.harmonics, 1))


def metadata(of: Field, level: int = 0, **changes: object) -> dict[str, object]:
    return {
        "format_version": 1,
        "resolution": list(of.density.shape),
        "scene_bounds": [*map(float, of.low), *map(float, of.high)],
        "sh_degree": of.degree,
        "compositing": of.compositing,
        "lod_level": level,
        "step_size": float(of.voxel.min() / 2),
        "background": list(of.background),
        "model_config": {},
        "training": {"iterations": 10, "seconds": 1.0, "held_out_psnr": 30.5, **of.training},
        "generator": "tests 1",
        **changes,
    }


def write(of: Field, path: Path, level: int = 0, **changes: object) -> Path:
    """Writes one .vdb of the VDB contract."""
    import openvdb

    matrix = np.diag([*of.voxel, 1.0])
    matrix[3, :3] = of.low + of.voxel / 2
    grids = []
    for name, values in [("density", of.density), *((f"sh_{k}", band) for k, band in enumerate(of.harmonics))]:
        grid = openvdb.FloatGrid() if name == "density" else openvdb.Vec3SGrid()
        grid.name = name
        grid.copyFromArray(np.ascontiguousarray(values, dtype=np.float32))
        grid.transform = openvdb.createLinearTransform(matrix.tolist())
        if name == "density":
            grid.gridClass = openvdb.GridClass.FOG_VOLUME
        grids.append(grid)
    openvdb.write(str(path), grids, {"plenoxel": json.dumps(metadata(of, level, **changes))})
    return path


def write_family(of: Field, path: Path, levels: int = 3) -> Path:
    """Writes `path` and its levels of detail beside it."""
    for level in range(levels):
        write(of, path if level == 0 else path.with_name(f"{path.stem}_lod{level}.vdb"), level)
        of = halved(of)
    return path


def basis(d: Array, degree: int) -> Array:
    """The table of the VDB contract; d: unit directions (..., 3)."""
    x, y, z = d[..., 0], d[..., 1], d[..., 2]
    xx, yy, zz = x * x, y * y, z * z
    table = [
        np.full_like(x, 0.28209479177387814),
        -0.4886025119029199 * y,
        0.4886025119029199 * z,
        -0.4886025119029199 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.31539156525252005 * (2 * zz - xx - yy),
        -1.0925484305920792 * x * z,
        0.5462742152960396 * (xx - yy),
        -0.5900435899266435 * y * (3 * xx - yy),
        2.890611442640554 * x * y * z,
        -0.4570457994644658 * y * (4 * zz - xx - yy),
        0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
        -0.4570457994644658 * x * (4 * zz - xx - yy),
        1.445305721320277 * z * (xx - yy),
        -0.5900435899266435 * x * (xx - 3 * yy),
    ]
    return np.stack(table[: (degree + 1) ** 2], -1)


def decode(value: Array) -> Array:
    """sRGB-encoded values to light, above 1 by the same power."""
    return np.where(value <= 0.04045, value / 12.92, ((np.maximum(value, 0) + 0.055) / 1.055) ** 2.4)


def encode(light: Array) -> Array:
    """Light to sRGB-encoded values."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-12) ** (1 / 2.4) - 0.055)


def interpolate(values: Array, index: Array) -> Array:
    """Trilinear lookup of (nx, ny, nz, c) at index coordinates (m, 3) of voxel centres; 0 outside."""
    padded = np.pad(values, [(1, 1)] * 3 + [(0, 0)])
    index = np.clip(index + 1, 0, np.array(padded.shape[:3]) - 1.000001)
    base = index.astype(int)
    f = index - base
    result = np.zeros((len(index), values.shape[-1]))
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, f, 1 - f), axis=-1)
        i, j, k = (base + corner).T
        result += weight[:, None] * padded[i, j, k]
    return result


def render(
    of: Field,
    object_to_world: Array,
    camera_to_world: Array,
    pinhole: tuple[int, int, float, float, float, float],
    *,
    step: float = 0.125,
    density_scale: float = 1.0,
    strength: float = 1.0,
) -> Array:
    """Emission and absorption along every pixel's ray, (h, w, 3), before the finished pixel is encoded.

    pinhole: w, h, fl_x, fl_y, cx, cy. step: in shortest voxels. Pixel centres, OpenGL camera axes.
    """
    w, h, fl_x, fl_y, cx, cy = pinhole
    v, u = np.mgrid[0:h, 0:w] + 0.5
    local = np.stack([(u - cx) / fl_x, -(v - cy) / fl_y, -np.ones_like(u)], -1).reshape(-1, 3)
    to_object = np.linalg.inv(object_to_world)
    origin = (to_object @ camera_to_world)[:3, 3]
    direction = local @ (to_object @ camera_to_world)[:3, :3].T
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)  # lengths along the ray in object units
    colours = basis(direction, of.degree)
    with np.errstate(divide="ignore"):
        near, far = (of.low - of.voxel - origin) / direction, (of.high + of.voxel - origin) / direction
    start = np.maximum(np.minimum(near, far).max(-1), 0)
    length = np.maximum(np.maximum(near, far).min(-1) - start, 0)
    steps = int(np.ceil(length.max() / (step * of.voxel.min())))
    delta = length / steps
    values = np.concatenate(
        [of.density[..., None], np.moveaxis(of.harmonics, 0, -2).reshape(*of.density.shape, -1)], -1
    )
    light, through = np.zeros((len(direction), 3)), np.ones(len(direction))
    to_light = decode if of.compositing == "linear" else (lambda value: value)
    for number in range(steps):
        point = origin + direction * (start + (number + 0.5) * delta)[:, None]
        sample = interpolate(values, (point - of.low) / of.voxel - 0.5)
        sigma = np.maximum(sample[:, 0], 0) * density_scale
        value = np.maximum(0.5 + np.einsum("mk,mkc->mc", colours, sample[:, 1:].reshape(len(point), -1, 3)), 0)
        alpha = 1 - np.exp(-sigma * delta)
        light += (through * alpha)[:, None] * to_light(value) * strength
        through *= 1 - alpha
    light += through[:, None] * to_light(np.array(of.background))
    return light.reshape(h, w, 3)


def psnr(image: Array, reference: Array) -> float:
    """Peak signal-to-noise ratio in dB, peak 1."""
    return float(-10 * np.log10(max(np.mean((image - reference) ** 2), 1e-20)))
