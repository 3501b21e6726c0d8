"""A quick measurement on held-out photos while training runs."""

from __future__ import annotations

import math

import torch

from plenoxels.config import PlenoxelConfig
from plenoxels.kernels import Field, Kernels, MarchSettings
from plenoxels.training.photo_pool import PhotoPool

_PIXELS = 16_384


class HeldOutSample:
    """The same random pixels of the held-out views each time."""

    def __init__(self, pool: PhotoPool) -> None:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(pool.pixel_count, (_PIXELS,), generator=generator).to(pool.first_pixel.device)
        view = torch.searchsorted(pool.first_pixel, pixels, right=True) - 1
        self._rays, self._colours, _ = pool.batch(view, (pixels - pool.first_pixel[view])[:, None])

    def psnr(self, field: Field, kernels: Kernels, config: PlenoxelConfig) -> float:
        """PSNR in dB over the sample, of sRGB-encoded values clipped to 0..1."""
        pixels, _ = kernels.render(field, self._rays, MarchSettings.of(config, field.grid))
        error = float((pixels.clamp(0, 1) - self._colours).square().mean())
        return -10 * math.log10(max(error, 1e-12))
