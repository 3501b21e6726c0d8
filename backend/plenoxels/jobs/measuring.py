"""A job's last look at its field: held-out scores and the contact sheet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plenoxels.datasets import Dataset
from plenoxels.evaluation.contact_sheet import ContactSheet
from plenoxels.evaluation.evaluate import EvaluationResult, ViewScores, evaluate_views
from plenoxels.evaluation.lpips import Lpips
from plenoxels.jobs.folder import JobFolder
from plenoxels.jobs.observer import TRAINING_ENDS, JobObserver
from plenoxels.jobs.status import JobStage
from plenoxels.neuralvdb.vdb_reader import read_field
from plenoxels.render.renderer import FieldRenderer

_SHARE = 0.05


class _StopMeasuring(Exception):
    """The user wants to stop while views are measured."""


def measure_field(
    job: JobFolder, dataset: Dataset, observer: JobObserver, device: str, threads: int | None
) -> EvaluationResult | None:
    """Measures the field file of a job, read back, on the held-out views and draws the contact sheet.

    Args:
        job: its field is written already.
        dataset: what it was trained on.
        observer: is told how far it is, and may ask to stop.
        device, threads: as in FieldRenderer.

    Returns:
        The scores; None without held-out views, or when asked to stop before the last of them.

    Raises:
        DatasetInvalid: a photo cannot be read.
    """
    if not dataset.test:
        return None
    grid, metadata = read_field(job.field)
    renderer = FieldRenderer(grid, metadata.config, device, threads)

    records, sheet = observer.records, ContactSheet(len(dataset.test))

    def measured(done: int, total: int) -> None:
        observer.update(
            stage=JobStage.EVALUATING,
            message=f"Measuring held-out views: {done} of {total}",
            progress=TRAINING_ENDS + _SHARE * done / total,
        )
        if observer.should_stop():
            raise _StopMeasuring

    def keep(scores: ViewScores, photo: NDArray[np.float32], picture: NDArray[np.float32]) -> None:
        records.attempt("contact sheet", lambda: sheet.add(scores, photo, picture))

    try:
        result = evaluate_views(renderer, dataset, dataset.test, measured, Lpips.find(device), keep)
    except _StopMeasuring:
        return None
    records.attempt("contact sheet", lambda: sheet.write(job.contact_sheet, dataset.name, result))
    return result
