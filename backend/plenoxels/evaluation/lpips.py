"""LPIPS, where the network for it is on this machine. Nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from numpy.typing import NDArray

_LIBRARIES = ("torchmetrics", "torchvision")
_MOST_PIXELS = 4_000_000  # the network's activations take about 1 GB for so many
_FEWEST_PIXELS = 64  # along an edge: less than that does not go through the network's strides


class Lpips:
    """Learned perceptual image patch similarity (Zhang et al. 2018) with AlexNet: 0 is the same, smaller is better.

    Attributes:
        missing: why it cannot be measured here, a sentence; None where it can be.
    """

    def __init__(self, network: torch.nn.Module | None, device: str = "cpu", missing: str | None = None) -> None:
        """Give either a network, two float32 [1, 3, height, width] in 0..1 to a number, or the reason for having none.

        `find` does.
        """
        self.missing = missing
        self._network, self._device = network, device

    @classmethod
    def find(cls, device: str = "auto") -> Lpips:
        """The network of torchmetrics, with the backbone that torchvision would download.

        Both libraries have to be installed and the weights file has to be in torch hub's cache, complete: its name
        holds the beginning of its SHA-256. Never raises for what is missing or broken.

        Args:
            device: `auto`, `cpu`, `cuda`, ...
        """
        absent = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
        if absent:
            return cls(None, missing=f"LPIPS was not measured: {' and '.join(absent)} not installed.")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            from torchvision.models import AlexNet_Weights

            url = AlexNet_Weights.DEFAULT.url
            weights = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
            if not weights.is_file():
                return cls(None, missing=f"LPIPS was not measured: {weights} is not there (it can be had from {url}).")
            if not _is_complete(weights):
                return cls(None, missing=f"LPIPS was not measured: {weights} is damaged; get it anew from {url}.")
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

            network = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).to(device).eval()
        except Exception as error:  # a torchvision of another torch fails in many ways, and none of them ends a job
            reason = f"torchvision or torchmetrics does not work ({_in_short(error)})"
            return cls(None, missing=f"LPIPS was not measured: {reason}.")
        return cls(network, device)

    def __call__(self, picture: NDArray[np.float32], photo: NDArray[np.floating[Any]]) -> float | None:
        """LPIPS of two pictures, [height, width, 3], sRGB-encoded in 0..1 (the first is clipped).

        None where there is no network, or the photo is too small or too large for it.
        """
        height, width = photo.shape[:2]
        if self._network is None or min(height, width) < _FEWEST_PIXELS or height * width > _MOST_PIXELS:
            return None
        x, y = (
            torch.from_numpy(np.ascontiguousarray(np.clip(part, 0, 1).transpose(2, 0, 1)[None], np.float32))
            for part in (picture, photo)
        )
        try:
            with torch.inference_mode():
                return float(self._network(x.to(self._device), y.to(self._device)))
        except (MemoryError, RuntimeError) as error:  # memory above all; the other measures go on without it
            self._network, self.missing = None, f"LPIPS was given up: {_in_short(error)}."
            return None


def _is_complete(weights: Path) -> bool:
    """Whether a file of torch hub is what its name promises: `name-01234567.pth`, the beginning of its SHA-256."""
    promised = weights.stem.rpartition("-")[2]
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(promised)


def _in_short(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
