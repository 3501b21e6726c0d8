"""Held-out quality of a field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenoxels.cameras import View
from plenoxels.datasets import Dataset
from plenoxels.datasets.background import composite_photo
from plenoxels.evaluation.lpips import Lpips
from plenoxels.evaluation.measures import psnr, ssim
from plenoxels.render import FieldRenderer


@dataclass(frozen=True)
class ViewScores:
    """How well one view is rendered.

    Attributes:
        name: the view's.
        psnr: dB, over all pixels and channels.
        ssim: see `measures.ssim`; None where the photo is smaller than its window.
        lpips: see `lpips.Lpips`; None where it was not measured.
    """

    name: str
    psnr: float
    ssim: float | None = None
    lpips: float | None = None


@dataclass(frozen=True)
class EvaluationResult:
    """Pictures against photos.

    Attributes:
        views: the scores of each view, in the dataset's order.
        lpips_missing: why LPIPS was not measured, a sentence, or None.
    """

    views: list[ViewScores]
    lpips_missing: str | None = None

    @property
    def psnr(self) -> float:
        """Mean over the views, dB."""
        return sum(view.psnr for view in self.views) / max(1, len(self.views))

    @property
    def ssim(self) -> float | None:
        """Mean over the views that it was measured on, or None."""
        return _mean(view.ssim for view in self.views)

    @property
    def lpips(self) -> float | None:
        """Mean over the views that it was measured on, or None."""
        return _mean(view.lpips for view in self.views)

    def summary(self) -> str:
        """The means in one line."""
        return scores_text(self.psnr, self.ssim, self.lpips)

    def to_json(self) -> dict[str, Any]:
        """evaluation.json's values (contracts/job_folder.md)."""
        return {
            "psnr": self.psnr,
            "ssim": self.ssim,
            "lpips": self.lpips,
            "lpips_network": None if self.lpips is None else "alex",
            "lpips_missing": self.lpips_missing,
            "views": [asdict(view) for view in self.views],
        }


def scores_text(psnr: float, ssim: float | None, lpips: float | None) -> str:
    """What was measured, for people."""
    parts = [f"PSNR {psnr:.2f} dB"]
    if ssim is not None:
        parts.append(f"SSIM {ssim:.4f}")
    if lpips is not None:
        parts.append(f"LPIPS {lpips:.4f}")
    return ", ".join(parts)


def evaluate_views(
    renderer: FieldRenderer,
    dataset: Dataset,
    views: Sequence[View],
    on_progress: Callable[[int, int], None] | None = None,
    lpips: Lpips | None = None,
    on_view: Callable[[ViewScores, NDArray[np.float32], NDArray[np.float32]], None] | None = None,
) -> EvaluationResult:
    """Renders each view and compares it with its photo over the renderer's background.

    Args:
        renderer: of the field.
        dataset: the views' dataset.
        views: what to compare.
        on_progress: called with (done, total).
        lpips: how to measure LPIPS; None leaves it out.
        on_view: called with each view's scores, its photo over the background and its picture, both [height, width, 3],
            sRGB-encoded: what ContactSheet.add takes.

    Raises:
        DatasetInvalid: a photo cannot be read.
    """
    results = []
    for view in views:  # photo by photo: memory stays that of one picture
        photo = composite_photo(dataset.load_photos([view])[0], renderer.config).astype(np.float32) / 255
        picture = renderer.render(view.intrinsics, view.camera_to_world)
        distance = lpips(picture, photo) if lpips else None
        results.append(ViewScores(view.name, psnr(picture, photo), ssim(picture, photo), distance))
        if on_view:
            on_view(results[-1], photo, picture)
        if on_progress:
            on_progress(len(results), len(views))
    return EvaluationResult(results, _why_not(lpips, results))


def _why_not(lpips: Lpips | None, results: Sequence[ViewScores]) -> str | None:
    if lpips is None:
        return "LPIPS was not asked for."
    if lpips.missing is None and any(view.lpips is None for view in results):
        return "LPIPS was measured only on photos of a size that its network takes."
    return lpips.missing


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
