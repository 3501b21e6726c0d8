"""A job's folder: claimed once, written so that whoever watches never sees half of anything."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from plenoxels import checked_json as check
from plenoxels.errors import FolderInUse, NotWritable, ResumeInvalid
from plenoxels.files import make_folder, remove_leftovers, replacing, write_failure, write_json
from plenoxels.jobs.request import MAX_BYTES as MAX_REQUEST_BYTES
from plenoxels.jobs.request import JobRequest
from plenoxels.jobs.status import MAX_BYTES as MAX_STATUS_BYTES
from plenoxels.jobs.status import JobStatus

_EARLIER_WORK = ("status.json", "checkpoints", "field.vdb")
_STALE_SECONDS = 60.0


class JobFolder:
    """The files of one job. Make it with `claim`.

    Attributes:
        path: absolute.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()

    @classmethod
    def claim(cls, path: Path, request: JobRequest) -> JobFolder:
        """Takes a folder for a job: creates it where needed, writes request.json and the first status.json.

        Raises:
            FolderInUse: it holds earlier work and the request does not resume its newest checkpoint, or a trainer is at
                work in it.
            ResumeInvalid: the checkpoint to resume does not exist.
            DiskFull, NotWritable: the disk refused.
        """
        folder = cls(path)
        resume = request.options.resume
        if resume is not None and not resume.is_file():
            raise ResumeInvalid(f"The checkpoint {resume} does not exist.", "Choose a .vdb below checkpoints/.")
        if folder.path.exists() and not folder.path.is_dir():
            raise NotWritable(f"The output {folder.path} is a file.", "Choose a folder.")
        resumes_own = resume is not None and resume.resolve().parent == folder.checkpoints.resolve()
        earlier = next((name for name in _EARLIER_WORK if (folder.path / name).exists()), None)
        if earlier is not None and not resumes_own:
            raise FolderInUse(
                f"The folder {folder.path} holds an earlier job ({earlier}), which is never overwritten.",
                "Choose another output folder, or resume its newest checkpoint with --resume.",
            )
        if resume is not None and resumes_own:
            folder._refuse_newer_work(resume)
        make_folder(folder.path)
        first = JobStatus(pid=os.getpid(), updated=time.time())
        if earlier is None:
            folder._write_first_status(first)
        else:
            folder.write_status(first)
        make_folder(folder.checkpoints)
        folder._settle_request(request)
        for place in (folder.path, folder.checkpoints):
            remove_leftovers(place)
        return folder

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def field(self) -> Path:
        return self.path / "field.vdb"

    @property
    def cameras(self) -> Path:
        return self.path / "cameras.json"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def contact_sheet(self) -> Path:
        return self.path / "evaluation.png"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def preview(self) -> Path:
        return self.path / "preview.png"

    def relative(self, path: Path) -> str:
        """A path as status.json says it: relative to the folder, with forward slashes."""
        return path.absolute().relative_to(self.path).as_posix()

    def write_status(self, status: JobStatus) -> None:
        """Replaces status.json. Raises DiskFull, NotWritable."""
        # It is true for a second: waiting for the disk would only let it grow old.
        write_json(self.path / "status.json", status.to_json(), durable=False)

    def read_status(self) -> JobStatus:
        """The status that was written last. Raises OSError, ValueError."""
        return JobStatus.from_json(check.read_object(self.path / "status.json", MAX_STATUS_BYTES))

    def read_request(self) -> JobRequest:
        """The request. Raises OSError, ValueError."""
        return JobRequest.from_json(check.read_object(self.path / "request.json", MAX_REQUEST_BYTES))

    def append_event(self, event: str, **values: Any) -> None:
        """Adds a line to events.jsonl. Raises DiskFull, NotWritable."""
        line = json.dumps({"time": time.time(), "event": event, **values}, ensure_ascii=False)
        path = self.path / "events.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise write_failure(error, path) from error

    def write_preview(self, image: NDArray[np.uint8]) -> None:
        """Replaces preview.png by uint8 [height, width, 3]. Raises DiskFull, NotWritable."""
        from PIL import Image

        with replacing(self.preview) as temporary:
            Image.fromarray(image).save(temporary, compress_level=3)

    def drop_evaluation(self) -> None:
        """Takes the figures of an earlier field away: those of this one were not measured."""
        with contextlib.suppress(OSError):
            for path in (self.evaluation, self.contact_sheet):
                path.unlink(missing_ok=True)

    @property
    def is_cancel_requested(self) -> bool:
        return (self.path / "cancel").exists()

    def clear_cancel(self) -> None:
        """Takes the request to stop away, once it was followed."""
        with contextlib.suppress(OSError):
            (self.path / "cancel").unlink(missing_ok=True)

    def _refuse_newer_work(self, resume: Path) -> None:
        newest = max(self.checkpoints.glob("checkpoint_*.vdb"), key=lambda path: path.name)
        if newest.name > resume.name:
            raise FolderInUse(
                f"{newest} is newer than {resume.name} and would be lost.",
                "Resume from it, or give another output folder.",
            )
        with contextlib.suppress(OSError, ValueError):
            status = self.read_status()
            if not status.state.is_over and time.time() - status.updated < _STALE_SECONDS and _is_alive(status.pid):
                raise FolderInUse(f"A trainer (process {status.pid}) is at work in {self.path}.", "Cancel it first.")

    def _settle_request(self, request: JobRequest) -> None:
        """Keeps a launcher's request.json, or writes this one; drops a `cancel` that was meant for an earlier run."""
        path, cancel = self.path / "request.json", self.path / "cancel"
        with contextlib.suppress(OSError, ValueError):
            if self.read_request().asks_the_same_as(request):
                if cancel.exists() and cancel.stat().st_mtime < path.stat().st_mtime:
                    self.clear_cancel()
                return
        self.clear_cancel()
        write_json(path, request.to_json())

    def _write_first_status(self, status: JobStatus) -> None:
        """Creates status.json, unless another trainer was quicker: it is what a claim is made by."""
        path = self.path / "status.json"
        temporary = path.with_name(f".status.{uuid4().hex[:8]}.tmp.json")
        try:
            write_json(temporary, status.to_json())
            try:
                if os.name == "nt":
                    temporary.rename(path)
                else:
                    path.hardlink_to(temporary)
            except OSError:
                if path.exists():
                    raise FolderInUse(
                        f"Another trainer took the folder {self.path} at the same moment.",
                        "Choose another output folder.",
                    ) from None
                self.write_status(status)  # a file system without hard links
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    """Whether a process lives; where that cannot be asked for safely (Windows), a fresh status counts as life."""
    if os.name == "nt" or pid <= 0:
        return pid > 0
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return pid != os.getpid()
