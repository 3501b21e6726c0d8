"""The sRGB curve, both ways, continued above 1 by the same power (contracts/vdb.md, `compositing`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

ENCODED_KNEE = 0.04045
LIGHT_KNEE = 0.0031308
_SLOPE, _OFFSET, _POWER = 12.92, 0.055, 2.4

Values = TypeVar("Values", NDArray[Any], "torch.Tensor")


def decode_srgb(values: Values) -> Values:
    """Light of sRGB-encoded values.

    Args:
        values: floats of any shape, numpy or torch; 1 is white; greater values and (on the straight part) negative
            ones are fine.

    Returns:
        The same shape, kind and dtype. Differentiable everywhere for torch.
    """
    if isinstance(values, np.ndarray):
        power = ((np.maximum(values, ENCODED_KNEE) + _OFFSET) / (1 + _OFFSET)) ** _POWER
        return np.where(values <= ENCODED_KNEE, values / _SLOPE, power).astype(values.dtype, copy=False)
    import torch

    power = ((values.clamp(min=ENCODED_KNEE) + _OFFSET) / (1 + _OFFSET)) ** _POWER
    return torch.where(values <= ENCODED_KNEE, values / _SLOPE, power)


def encode_srgb(light: Values) -> Values:
    """sRGB-encoded values of light: the inverse of `decode_srgb`, with the same shapes and kinds."""
    if isinstance(light, np.ndarray):
        power = (1 + _OFFSET) * np.maximum(light, LIGHT_KNEE) ** (1 / _POWER) - _OFFSET
        return np.where(light <= LIGHT_KNEE, light * _SLOPE, power).astype(light.dtype, copy=False)
    import torch

    power = (1 + _OFFSET) * light.clamp(min=LIGHT_KNEE) ** (1 / _POWER) - _OFFSET
    return torch.where(light <= LIGHT_KNEE, light * _SLOPE, power)


def to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 of floats in 0..1 (clipped, rounded), any shape; NaN becomes 0."""
    return (np.clip(np.nan_to_num(values), 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
