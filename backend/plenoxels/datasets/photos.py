"""Photos from disk: found, measured, decoded and downscaled."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from plenoxels.cameras import MAX_IMAGE_EDGE
from plenoxels.colour import decode_srgb, encode_srgb
from plenoxels.config import Compositing

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".PNG", ".JPG", ".JPEG")
_MAX_PIXELS = 160_000_000
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_AS_STORED = np.arange(256, dtype=np.float32) / 255
_DECODED = decode_srgb(_AS_STORED)


def find_photo(path: Path) -> Path | None:
    """The picture that a frame's path means, the file itself or with a suffix added; None if there is none."""
    if path.is_file():
        return path
    return next((photo for suffix in _SUFFIXES if (photo := path.with_name(path.name + suffix)).is_file()), None)


def photo_size(photo: Path) -> tuple[int, int]:
    """Width and height, from the file's header.

    Raises:
        ValueError: half a sentence about what is wrong with the file.
    """
    return photo_header(photo)[:2]


def photo_header(photo: Path) -> tuple[int, int, bool]:
    """Width, height and whether there is an alpha channel, from the file's header.

    Raises:
        ValueError: half a sentence about what is wrong with the file.
    """
    try:
        with _opened(photo) as image:
            if image.mode in _DEEP_MODES:
                raise ValueError(f"{photo.name} holds {image.mode} grey values; save it with 8 bits a channel")
            width, height = image.size
            alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    except OSError as error:
        raise ValueError(_unreadable(photo, error)) from None
    if max(width, height) > MAX_IMAGE_EDGE or width * height > _MAX_PIXELS:
        raise ValueError(f"{photo.name} is {width}x{height} pixels, more than can be used")
    return width, height, alpha


def load_photo(photo: Path, size: tuple[int, int], downscale: int, compositing: Compositing) -> NDArray[np.uint8]:
    """A decoded photo, uint8 [H // downscale, W // downscale, 4]: sRGB-encoded colour and straight alpha.

    Args:
        photo: the file.
        size: width and height that the downscaled picture must have.
        downscale: every n x n pixels become one.
        compositing: averages light, or encoded values (`box_downscaled`).

    Raises:
        ValueError: half a sentence about what is wrong with the file.
    """
    photo_header(photo)
    try:
        with _opened(photo) as image:
            pixels = np.array(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's decoders raise all three for broken data
        raise ValueError(_unreadable(photo, error)) from None
    pixels = box_downscaled(pixels, downscale, compositing)
    if (pixels.shape[1], pixels.shape[0]) != size:
        raise ValueError(f"{photo.name} is now {pixels.shape[1]}x{pixels.shape[0]} pixels, not {size[0]}x{size[1]}")
    return pixels


def box_downscaled(pixels: NDArray[np.uint8], n: int, compositing: Compositing) -> NDArray[np.uint8]:
    """Averages blocks of n x n pixels, weighted by alpha, so that transparent pixels lend no colour.

    Linear compositing averages light, as a camera with larger pixels would; encoded compositing averages values.

    Args:
        pixels: uint8 [H, W, 4], straight alpha.
        n: the factor; rows and columns that fill no block are cut off.
        compositing: what is averaged.

    Returns:
        uint8 [H // n, W // n, 4], straight alpha.
    """
    if n == 1:
        return pixels
    height, width = pixels.shape[0] // n, pixels.shape[1] // n
    linear = compositing is Compositing.LINEAR
    values = _DECODED if linear else _AS_STORED
    mean = np.zeros((height, width, 4), np.float32)
    for row in range(n):
        for column in range(n):
            part = pixels[row : height * n : n, column : width * n : n]
            alpha = _AS_STORED.take(part[..., 3:])
            mean[..., :3] += values.take(part[..., :3]) * alpha
            mean[..., 3:] += alpha
    mean /= n * n
    mean_alpha = mean[..., 3:]
    colour = np.divide(mean[..., :3], mean_alpha, out=np.zeros_like(mean[..., :3]), where=mean_alpha > 0)
    if linear:
        colour = encode_srgb(colour)
    result: NDArray[np.float32] = np.concatenate([colour, mean_alpha], axis=-1)
    return (result.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _opened(photo: Path) -> Image.Image:
    """The image with its header read. `photo_header` checks sizes, so Pillow's warning about them is not needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(photo)
        except UnidentifiedImageError:
            raise ValueError(f"{photo.name} is not a picture in a known format") from None
        except Image.DecompressionBombError:
            raise ValueError(f"{photo.name} has more than {math.floor(_MAX_PIXELS / 1e6)} million pixels") from None


def _unreadable(photo: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{photo.name} cannot be read ({reason})"
