"""The contract's rendering in float64 torch, for kernels to be compared with: dense, slow, differentiable."""

from __future__ import annotations

import torch
from plenoxels.colour import decode_srgb, encode_srgb
from plenoxels.config import Compositing
from plenoxels.grid import VoxelGrid
from plenoxels.kernels import MarchSettings, RayBatch


def harmonics(directions: torch.Tensor, degree: int) -> torch.Tensor:
    """Real spherical harmonics [n, (degree + 1)^2] of unit directions [n, 3] as in contracts/vdb.md."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    terms = [
        torch.full_like(x, 0.28209479177387814),
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
    return torch.stack(terms[: (degree + 1) ** 2], -1)


def _dense(grid: VoxelGrid, values: torch.Tensor, low: torch.Tensor, shape: torch.Size | list[int]) -> torch.Tensor:
    """[x, y, z, channels] with zeros where no voxel is active; `values` [N, channels]."""
    place = grid.coordinates.long() - low
    flat = (place[:, 0] * shape[1] + place[:, 1]) * shape[2] + place[:, 2]
    dense = torch.zeros(shape[0] * shape[1] * shape[2], values.shape[1], dtype=values.dtype)
    return dense.index_add(0, flat, values).reshape(*shape, -1)


def trilinear(dense: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Values [..., channels] at positions [..., 3] in vertices; positions lie inside the array."""
    limit = torch.tensor(dense.shape[:3]) - 2
    cell = position.detach().floor().long().clamp(min=0).minimum(limit)
    f = position - cell
    total = torch.zeros(*position.shape[:-1], dense.shape[-1], dtype=dense.dtype)
    for corner in range(8):
        bits = torch.tensor([corner >> 2 & 1, corner >> 1 & 1, corner & 1])
        weight = torch.where(bits.bool(), f, 1 - f).prod(-1, keepdim=True)
        x, y, z = (cell + bits).unbind(-1)
        total = total + weight * dense[x, y, z]
    return total


def render_reference(
    grid: VoxelGrid, density: torch.Tensor, sh: torch.Tensor, rays: RayBatch, settings: MarchSettings
) -> torch.Tensor:
    """Pixels float64 [n, 3] for float64 density [N] and sh [N, coefficients, 3] on the grid's voxels; differentiable.

    Thresholds are not applied. Samples lie at near + (k + jitter) step inside the box of cells with an active corner.
    """
    coordinates = grid.coordinates.long()
    low, high = coordinates.amin(0) - 1, coordinates.amax(0) + 1
    shape = (high - low + 1).tolist()
    size = torch.tensor(grid.voxel_size, dtype=torch.float64)
    origin = torch.tensor(grid.origin, dtype=torch.float64) + low * size
    values = torch.cat([density[:, None], sh.flatten(1)], 1)
    dense = _dense(grid, values, low, shape)

    o = (rays.origins.double() - origin) / size
    d = rays.directions.double() / size
    safe = torch.where(d.abs() < 1e-12, torch.full_like(d, 1e-12), d)
    t0, t1 = -o / safe, (torch.tensor(shape) - 1 - o) / safe
    near = torch.minimum(t0, t1).amax(1).clamp(min=0)
    far = torch.maximum(t0, t1).amin(1)
    jitter = torch.full_like(near, 0.5) if rays.jitter is None else rays.jitter.double()
    steps = int(((far - near).clamp(min=0).amax() / settings.step).ceil()) + 1
    t = near[:, None] + (torch.arange(steps) + jitter[:, None]) * settings.step
    inside = t < far[:, None]
    position = torch.where(
        inside[..., None], o[:, None] + t[..., None] * d[:, None], torch.zeros(3, dtype=torch.float64)
    )
    sampled = trilinear(dense, position)
    sigma = torch.where(inside, sampled[..., 0].clamp(min=0), torch.zeros_like(t))
    basis = harmonics(rays.directions.double(), grid.sh_degree)
    value = (0.5 + (basis[:, None, :, None] * sampled[..., 1:].unflatten(-1, (-1, 3))).sum(2)).clamp(min=0)
    background = torch.tensor(settings.background, dtype=torch.float64)
    linear = settings.compositing is Compositing.LINEAR
    if linear:
        value, background = decode_srgb(value), decode_srgb(background)
    depth = torch.cumsum(sigma * settings.step, 1)
    before = torch.cat([torch.zeros_like(depth[:, :1]), depth[:, :-1]], 1)
    weight = torch.exp(-before) - torch.exp(-depth)
    pixel = (weight[..., None] * value).sum(1) + torch.exp(-depth[:, -1:]) * background
    return encode_srgb(pixel) if linear else pixel
