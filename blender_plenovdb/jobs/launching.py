"""Starting a trainer: a fresh folder, request.json, the process."""

from __future__ import annotations

import re
import time
from pathlib import Path

from ..errors import PlenoError
from . import checked, processes
from .environment import Environment
from .request import TrainingOptions
from .watching import Job

_LEFT_BEHIND = ("status.json", "request.json", "checkpoints", "field.vdb")


def new_job_folder(parent: Path, dataset: Path) -> Path:
    """A name below `parent` that no job has: the dataset's name and the time. Does not create it."""
    name = re.sub(r"[^\w.-]+", "_", dataset.resolve().name).strip("._") or "field"
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder, number = parent / stem, 2
    while folder.exists():
        folder, number = parent / f"{stem}-{number}", number + 1
    return folder


def launch(options: TrainingOptions, folder: Path, environment: Environment) -> Job:
    """Starts the trainer for `folder` and returns without waiting for it.

    Raises PlenoError for options that cannot work, a folder that holds earlier work (unless a checkpoint of it is
    resumed) or cannot be written, and an interpreter that cannot be run.
    """
    options.check()
    folder = folder.expanduser().absolute()
    _refuse_earlier_work(options, folder)
    environment.make_caches()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cancel").unlink(missing_ok=True)
        checked.write_object(folder / "request.json", options.request())
    except OSError as error:
        raise PlenoError(
            f"The job folder {folder} cannot be written ({error.strerror or error}).", "Choose another output folder."
        ) from error
    started = time.time()
    command = environment.command(*options.arguments(folder))
    try:
        process = processes.start_detached(command, folder, environment.variables(), folder / "train.log")
    except OSError as error:
        raise PlenoError(
            f"The interpreter {environment.interpreter} cannot be run ({error.strerror or error}).",
            "Choose another Python in the extension's preferences.",
        ) from error
    return Job(folder, process, started)


def _refuse_earlier_work(options: TrainingOptions, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise PlenoError(f"{folder} is a file.", "Choose a folder for the job.")
    left = [name for name in _LEFT_BEHIND if (folder / name).exists()]
    resumes_own = options.resume is not None and options.resume.resolve().is_relative_to(
        (folder / "checkpoints").resolve()
    )
    if left and not resumes_own:
        raise PlenoError(
            f"The folder {folder} holds an earlier job ({left[0]}), which is never overwritten.",
            "Choose another folder, or resume one of its checkpoints.",
        )
