"""The order of points along a space-filling curve: what is near along it is near in space too."""

from __future__ import annotations

import torch

_BITS = 7


def curve_position(places: torch.Tensor) -> torch.Tensor:
    """Where points (float32 [n, 3], each axis 0 to 1) lie along a Z-order curve (Morton 1966), int64 [n]."""
    steps = (places.clamp(0, 1) * (2**_BITS - 1)).long()
    key = torch.zeros(len(places), dtype=torch.int64, device=places.device)
    for bit in range(_BITS):
        for axis in range(3):
            key |= ((steps[:, axis] >> bit) & 1) << (3 * bit + axis)
    return key
