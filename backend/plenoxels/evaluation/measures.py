"""How far a picture is from a photo: PSNR and SSIM. LPIPS, which needs a trained network, is in lpips.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

WINDOW = 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03
_STRIP_ROWS = 64


def psnr(picture: NDArray[np.float32], photo: NDArray[np.floating[Any]]) -> float:
    """PSNR in dB of two pictures in 0..1 (the first is clipped), over all pixels and channels; 120 at most."""
    error = float(np.mean((np.clip(picture, 0, 1).astype(np.float64) - photo) ** 2))
    return -10 * math.log10(max(error, 1e-12))


def ssim(picture: NDArray[np.float32], photo: NDArray[np.floating[Any]]) -> float | None:
    """Structural similarity, as Wang, Bovik, Sheikh and Simoncelli defined it (2004): at most 1, greater is better.

    Gaussian window of 11 x 11 pixels with sigma 1.5, K1 0.01, K2 0.03, values in 0..1, population variances; the mean
    over all windows that lie inside the picture and over the three channels of sRGB-encoded colour. scikit-image says
    `structural_similarity(..., data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False)`, TensorFlow `tf.image.ssim(..., max_val=1)`. (torchmetrics also counts windows that
    reach over the border.)

    Written here because the libraries' ways are slow beside the rendering (800 x 800 pixels on one core: this 0.1 s,
    scikit-image 0.2 s, torchmetrics 0.8 s), and scikit-image alone would bring 175 MB.

    Args:
        picture: [height, width, 3]; clipped to 0..1.
        photo: the same shape, in 0..1.

    Returns:
        The mean, or None where no window fits into the picture.
    """
    height, width = photo.shape[:2]
    rows = height - WINDOW + 1
    if rows < 1 or width < WINDOW:
        return None
    total = 0.0
    for first in range(0, rows, _STRIP_ROWS):  # strip by strip: quicker, and memory stays small for any photo
        strip = slice(first, min(first + _STRIP_ROWS, rows) + WINDOW - 1)
        x, y = (
            torch.from_numpy(np.ascontiguousarray(part[strip].transpose(2, 0, 1), np.float64))
            for part in (np.clip(picture, 0, 1), photo)
        )
        total += float(_similarity(x, y).sum())
    return total / (rows * (width - WINDOW + 1) * photo.shape[2])


def _similarity(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """SSIM of each window of float64 [channels, height, width]."""
    mean_x, mean_y, square_x, square_y, product = _blur(torch.stack([x, y, x * x, y * y, x * y]))
    c1, c2 = _K1**2, _K2**2
    covariance = product - mean_x * mean_y
    variances = square_x - mean_x**2 + square_y - mean_y**2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return likeness / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))


def _blur(values: torch.Tensor) -> torch.Tensor:
    """Gaussian means over the windows inside: [..., height, width] to [..., height - 10, width - 10]."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    taps = (weights / weights.sum()).tolist()
    for axis in (-2, -1):  # a sum of shifted pictures is many times quicker than torch's convolution here
        length = values.shape[axis] - WINDOW + 1
        blurred = values.narrow(axis, 0, length) * taps[0]
        for i in range(1, WINDOW):
            blurred.add_(values.narrow(axis, i, length), alpha=taps[i])
        values = blurred
    return values
