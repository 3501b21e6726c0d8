"""Writing files so that they appear complete or not at all, with the disk's refusals in plain words."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from plenoxels.errors import DiskFull, NotWritable, PlenoxelError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REPLACE_ATTEMPTS = 40


def write_failure(error: OSError, path: Path) -> PlenoxelError:
    """What a failed write means to a user: DiskFull or NotWritable, naming the file."""
    if error.errno in _NO_SPACE:
        return DiskFull(f"There was no space left for {path}.", "Free some space or choose another output folder.")
    reason = error.strerror or str(error)
    return NotWritable(
        f"{path} could not be written ({reason}).", "Check the folder and its permissions, or choose another one."
    )


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """A temporary path in `path`'s folder; when the block ends well, its file is flushed and takes the name `path`.

    The temporary name keeps the suffix (writers pick their format by it) and starts with a dot. After a failure nothing
    of it is left and an older `path` is untouched. With `durable` false nobody waits for the disk: readers still see
    the old or the new file, but after a power cut it may be the old one.

    Raises:
        DiskFull, NotWritable: the disk refused.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        try:
            yield temporary
            if durable:
                _flush(temporary)
            _replace(temporary, path)
            if durable:
                _flush_folder(path.parent)
        except OSError as error:
            raise write_failure(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that killed writers left behind. Only for a folder that nobody else writes."""
    for leftover in folder.glob(".*.tmp*"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def write_bytes(path: Path, data: bytes, durable: bool = True) -> None:
    """Replaces a file atomically (`replacing`). Raises DiskFull, NotWritable."""
    with replacing(path, durable) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, values: Any, durable: bool = True) -> None:
    """Replaces a JSON file atomically (strict JSON: NaN is refused). Raises DiskFull, NotWritable, ValueError."""
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode("utf-8"), durable)


def make_folder(path: Path) -> None:
    """Creates a folder and its parents. Raises DiskFull, NotWritable."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_failure(error, path) from error


def _flush(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Makes the rename itself durable, where the system can (Windows cannot, some network disks refuse)."""
    if os.name != "nt":
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _replace(temporary: Path, path: Path) -> None:
    """Path.replace, patient with Windows, where a reader's open handle or a virus scanner blocks it for a moment."""
    for attempt in range(_REPLACE_ATTEMPTS):
        try:
            temporary.replace(path)
            return
        except PermissionError:
            if os.name != "nt" or attempt == _REPLACE_ATTEMPTS - 1:
                raise
            time.sleep(0.025)
