"""Files of posed frames: NeRF-synthetic's transforms_*.json, nerfstudio's transforms.json and our own cameras.json.

They are one family: `frames` with `transform_matrix`; the camera either as `fl_x` ... per frame or for the whole file,
or as `camera_angle_x`. Everything here checks before it believes.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenoxels import checked_json as check
from plenoxels.cameras import MAX_IMAGE_EDGE, Intrinsics, View, check_pose
from plenoxels.errors import DatasetInvalid, DatasetMissing
from plenoxels.files import write_json

MAX_FILE_BYTES = 64 * check.MIB
MAX_FRAMES = 100_000
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_PINHOLE_MODELS = {"PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "RADIAL", "SIMPLE_RADIAL", "FULL_OPENCV"}


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a camera file, before its picture is looked at.

    Attributes:
        name: its path without a leading `./` and without suffix, unique in the file.
        file_path: as written, with forward slashes.
        camera_to_world: float64 [4, 4], a checked pose.
        split: as written, or "".
        values: camera keys of the frame over those of the whole file.
    """

    name: str
    file_path: str
    camera_to_world: NDArray[np.float64]
    split: str
    values: Mapping[str, Any]

    @property
    def written_size(self) -> tuple[int, int] | None:
        """Width and height if the file states them.

        Raises:
            ValueError: they are no sizes.
        """
        if "w" not in self.values and "h" not in self.values:
            return None
        width, height = (check.integer(check.required(self.values, key), key, 1, MAX_IMAGE_EDGE) for key in ("w", "h"))
        return width, height

    def intrinsics(self, size: tuple[int, int]) -> Intrinsics:
        """The camera for a picture of `size` (width, height).

        Raises:
            ValueError: keys are missing, out of range, or ask for a lens that is no pinhole.
        """
        width, height = size
        self._check_pinhole()
        if "fl_x" in self.values:
            fl_x = check.number(self.values["fl_x"], "fl_x")
            fl_y = check.number(self.values.get("fl_y", fl_x), "fl_y")
        elif "camera_angle_x" in self.values:
            angle = check.number(self.values["camera_angle_x"], "camera_angle_x")
            fl_x = fl_y = Intrinsics.from_field_of_view(width, height, angle).fl_x
        else:
            raise ValueError("neither 'camera_angle_x' nor 'fl_x' says how wide the camera sees")
        cx = check.number(self.values.get("cx", 0.5 * width), "cx")
        cy = check.number(self.values.get("cy", 0.5 * height), "cy")
        return Intrinsics(width, height, fl_x, fl_y, cx, cy)

    def _check_pinhole(self) -> None:
        model = self.values.get("camera_model", "PINHOLE")
        fisheye = self.values.get("is_fisheye", False)
        if fisheye or model not in _PINHOLE_MODELS:
            raise ValueError(
                f"the camera model is {'fisheye' if fisheye else model!r}; only pinhole cameras can be used"
            )
        for key in _DISTORTION:
            if check.number(self.values.get(key, 0.0), key) != 0:
                raise ValueError(
                    f"the lens distortion '{key}' is not 0; undistort the photos first (colmap image_undistorter)"
                )


def read_frames(path: Path) -> list[Frame]:
    """All frames of a camera file, poses checked.

    Raises:
        DatasetMissing: there is no such file.
        DatasetInvalid: it is no camera file, or a frame is at fault; the sentence names file and frame.
    """
    try:
        top = check.read_object(path, MAX_FILE_BYTES)
        entries = check.sequence(check.required(top, "frames"), "frames", MAX_FRAMES)
    except FileNotFoundError:
        raise DatasetMissing(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise DatasetInvalid(f"{path} cannot be used: {error}.") from None
    shared = {key: value for key, value in top.items() if key != "frames"}
    frames: list[Frame] = []
    names: set[str] = set()
    for index, entry in enumerate(entries):
        try:
            frame = _frame(entry, index, shared)
        except ValueError as error:
            raise DatasetInvalid(f"{path}: {error}.") from None
        if frame.name in names:
            raise DatasetInvalid(f"{path}: frame '{frame.name}' is listed twice.")
        names.add(frame.name)
        frames.append(frame)
    if not frames:
        raise DatasetInvalid(f"{path} lists no frames.")
    return frames


def _frame(entry: Any, index: int, shared: Mapping[str, Any]) -> Frame:
    where = f"frame {index}"
    try:
        values = check.mapping(entry, "frame")
        file_path = check.text(check.required(values, "file_path"), "file_path").replace("\\", "/")
        name = posixpath.splitext(posixpath.normpath(file_path))[0] or where
        where = f"frame '{name}'"
        rows = check.sequence(check.required(values, "transform_matrix"), "transform_matrix", 4)
        if len(rows) == 3:  # nerfstudio accepts the 3x4 matrix without its constant row
            rows = [*rows, [0, 0, 0, 1]]
        if len(rows) != 4:
            raise ValueError("'transform_matrix' must have 4 rows")
        matrix = np.array([check.numbers(row, "transform_matrix", 4) for row in rows], np.float64)
        split = check.text(values.get("split", ""), "split", 64)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    check_pose(matrix, name)
    return Frame(name, file_path, matrix, split, {**shared, **values})


def path_below(folder: Path, file_path: str) -> Path:
    """The place of a frame's `file_path` below its dataset's folder.

    Only names are looked at: links inside the folder are the user's own.

    Raises:
        ValueError: the path is absolute or leads out of the folder.
    """
    normal = posixpath.normpath(file_path)
    windows = PureWindowsPath(normal)
    if posixpath.isabs(normal) or windows.drive or windows.root or normal.split("/")[0] == "..":
        raise ValueError(f"its path {file_path!r} leads out of the dataset's folder")
    return folder / normal


def read_cameras(path: Path, split: str | None = None) -> list[View]:
    """Views to render, from any camera file; photos are looked at only where the file does not say their size.

    Args:
        path: a camera file.
        split: take only frames of this split; None takes all.

    Raises:
        DatasetMissing, DatasetInvalid: as `read_frames`; also when a frame's size cannot be known or no frame has
            the split.
    """
    from plenoxels.datasets.photos import find_photo, photo_size

    views = []
    for frame in read_frames(path):
        if split is not None and frame.split != split:
            continue
        try:
            size = frame.written_size
            if size is None:
                photo = find_photo(path_below(path.parent, frame.file_path))
                if photo is None:
                    raise ValueError(
                        "its size is unknown: the file has no 'w' and 'h', and there is no picture beside it"
                    )
                size = photo_size(photo)
            views.append(View(frame.name, None, frame.camera_to_world, frame.intrinsics(size), frame.split))
        except ValueError as error:
            raise DatasetInvalid(f"{path}: frame '{frame.name}': {error}.") from None
    if not views:
        raise DatasetInvalid(f"{path} has no frames of the split '{split}'.")
    return views


def write_cameras(
    path: Path,
    views: Sequence[View],
    scene_bounds: Sequence[float],
    compositing: str,
    background: Sequence[float],
) -> None:
    """Writes cameras.json (contracts/job_folder.md), atomically.

    Raises:
        DiskFull, NotWritable: the disk refused.
    """
    if len(scene_bounds) != 6 or not all(math.isfinite(b) for b in scene_bounds):
        raise ValueError(f"The scene bounds are {tuple(scene_bounds)}; they must be six finite numbers.")
    frames = [
        {
            "file_path": str(view.photo.resolve()) if view.photo else view.name,
            "split": view.split,
            "transform_matrix": view.camera_to_world.tolist(),
            "w": view.intrinsics.width,
            "h": view.intrinsics.height,
            "fl_x": view.intrinsics.fl_x,
            "fl_y": view.intrinsics.fl_y,
            "cx": view.intrinsics.cx,
            "cy": view.intrinsics.cy,
        }
        for view in views
    ]
    write_json(
        path,
        {
            "frames": frames,
            "scene_bounds": [float(b) for b in scene_bounds],
            "compositing": str(compositing),
            "background": [float(c) for c in background],
        },
    )
