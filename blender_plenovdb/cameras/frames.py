"""cameras.json of a job, checked. Imports no bpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import PlenoError
from ..jobs import checked
from ..jobs.checked import Invalid
from .intrinsics import Pinhole

FILE_LIMIT = 64 * 1024 * 1024
MAX_FRAMES = 20000
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Frame:
    """One photo. camera_to_world: rows of a 4x4 matrix, OpenGL axes (x right, y up, looking along -z)."""

    photo: Path
    split: str
    camera_to_world: tuple[tuple[float, ...], ...]
    pinhole: Pinhole


def read_frames(job_folder: Path) -> list[Frame]:
    """Reads `job_folder`/cameras.json. Raises PlenoError if it is missing or not of the contract."""
    path = job_folder / "cameras.json"
    try:
        values = checked.read_object(path, FILE_LIMIT)
        frames = values.get("frames")
        if not isinstance(frames, list) or not 1 <= len(frames) <= MAX_FRAMES:
            raise Invalid(f"has no list of 1 to {MAX_FRAMES} frames")
        return [_parse(frame) for frame in frames]
    except OSError as error:
        raise PlenoError(
            f"There is no readable cameras.json in {job_folder} ({error.strerror or error}).",
            "Choose the folder of a training job; the trainer writes it once it has loaded the photos.",
        ) from error
    except Invalid as error:
        raise PlenoError(f"The file {path} {error}.", "Train again to have it written anew.") from error


def _parse(frame: Any) -> Frame:
    if not isinstance(frame, dict):
        raise Invalid("has a frame that is no object")
    matrix = frame.get("transform_matrix")
    if not isinstance(matrix, list) or len(matrix) != 4:
        raise Invalid("has a frame without a 4x4 transform_matrix")
    rows = tuple(checked.numbers({"transform_matrix": row}, "transform_matrix", 4) for row in matrix)
    return Frame(
        photo=Path(checked.text(frame, "file_path")),
        split=checked.choice(frame, "split", SPLITS),
        camera_to_world=rows,
        pinhole=Pinhole(
            width=checked.integer(frame, "w", 1, 65536),
            height=checked.integer(frame, "h", 1, 65536),
            fl_x=checked.number(frame, "fl_x", 1e-3, 1e7),
            fl_y=checked.number(frame, "fl_y", 1e-3, 1e7),
            cx=checked.number(frame, "cx", -1e7, 1e7),
            cy=checked.number(frame, "cy", -1e7, 1e7),
        ),
    )
