"""Held-out quality of a field."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenoxels.cameras import View
from plenoxels.datasets import Dataset
from plenoxels.datasets.background import composite_photo
from plenoxels.render import FieldRenderer


@dataclass(frozen=True)
class EvaluationResult:
    """PSNR of pictures against photos.

    Attributes:
        views: (name, PSNR in dB) of each view.
    """

    views: list[tuple[str, float]]

    @property
    def psnr(self) -> float:
        """Mean over the views, dB."""
        return sum(value for _, value in self.views) / max(1, len(self.views))

    def to_json(self) -> dict[str, Any]:
        return {"psnr": self.psnr, "views": [{"name": name, "psnr": value} for name, value in self.views]}


def psnr(picture: NDArray[np.float32], photo: NDArray[np.float64]) -> float:
    """PSNR in dB of two pictures in 0..1 (the first is clipped), over all pixels and channels; 120 at most."""
    error = float(np.mean((np.clip(picture, 0, 1).astype(np.float64) - photo) ** 2))
    return -10 * math.log10(max(error, 1e-12))


def evaluate_views(
    renderer: FieldRenderer,
    dataset: Dataset,
    views: Sequence[View],
    on_progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Renders each view and compares it with its photo over the renderer's background.

    Args:
        renderer: of the field.
        dataset: the views' dataset.
        views: what to compare.
        on_progress: called with (done, total).

    Raises:
        DatasetInvalid: a photo cannot be read.
    """
    results = []
    for view in views:  # photo by photo: memory stays that of one picture
        photo = composite_photo(dataset.load_photos([view])[0], renderer.config)
        picture = renderer.render(view.intrinsics, view.camera_to_world)
        results.append((view.name, psnr(picture, photo.astype(np.float64) / 255)))
        if on_progress:
            on_progress(len(results), len(views))
    return EvaluationResult(results)
