"""Photos over a background, as pictures of a field are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plenoxels.colour import decode_srgb, encode_srgb, to_bytes
from plenoxels.config import Compositing, PlenoxelConfig


def composite_photo(photo: NDArray[np.uint8], config: PlenoxelConfig) -> NDArray[np.uint8]:
    """A photo over the background, uint8 [H, W, 3], from straight-alpha uint8 [H, W, 4].

    Where light is composited, so are the photo's own soft edges; else encoded values are blended, as Plenoxels was
    published.
    """
    if (photo[..., 3] == 255).all():
        return np.ascontiguousarray(photo[..., :3])
    colour = photo[..., :3].astype(np.float32) / 255
    alpha = photo[..., 3:].astype(np.float32) / 255
    background = np.asarray(config.background, np.float32)
    if config.compositing is Compositing.LINEAR:
        return to_bytes(encode_srgb(alpha * decode_srgb(colour) + (1 - alpha) * decode_srgb(background)))
    return to_bytes(alpha * colour + (1 - alpha) * background)
