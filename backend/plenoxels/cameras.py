"""Pinhole cameras and posed views.

Axes are OpenGL's, which are Blender's: x right, y up, the camera looks along -z. Image rows run downwards; the pixel in
column i and row j has its centre at (i + 0.5, j + 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_IMAGE_EDGE = 16384
_ROTATION_TOLERANCE = 1e-3
_MAX_POSITION = 1e9


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera's image plane, all in pixels.

    Attributes:
        width, height: size of the picture.
        fl_x, fl_y: focal lengths.
        cx, cy: principal point, from the picture's upper left corner.
    """

    width: int
    height: int
    fl_x: float
    fl_y: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        if not (1 <= self.width <= MAX_IMAGE_EDGE and 1 <= self.height <= MAX_IMAGE_EDGE):
            raise ValueError(
                f"the picture's size is {self.width}x{self.height}; each edge must be 1 to {MAX_IMAGE_EDGE} pixels"
            )
        if not all(np.isfinite(v) and 0 < v < 1e8 for v in (self.fl_x, self.fl_y)):
            raise ValueError(f"the focal lengths are {self.fl_x:g}, {self.fl_y:g} pixels; they must be above 0")
        if not all(np.isfinite(v) and abs(v) < 1e8 for v in (self.cx, self.cy)):
            raise ValueError(f"the principal point is ({self.cx:g}, {self.cy:g}); it must be finite")

    @classmethod
    def from_field_of_view(cls, width: int, height: int, angle_x: float) -> Intrinsics:
        """Square pixels, centred, with a horizontal field of view in radians."""
        if not 0 < angle_x < np.pi:
            raise ValueError(f"the horizontal field of view is {angle_x:g} radians; it must be above 0 and below pi")
        focal = 0.5 * width / float(np.tan(0.5 * angle_x))
        return cls(width, height, focal, focal, 0.5 * width, 0.5 * height)

    def local_directions(self) -> NDArray[np.float32]:
        """Unit directions through the pixels' centres in the camera's frame, float32 [height * width, 3], row-major."""
        x = (np.arange(self.width, dtype=np.float64) + 0.5 - self.cx) / self.fl_x
        y = -(np.arange(self.height, dtype=np.float64) + 0.5 - self.cy) / self.fl_y
        directions = np.empty((self.height, self.width, 3), np.float64)
        directions[..., 0] = x
        directions[..., 1] = y[:, None]
        directions[..., 2] = -1.0
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        return directions.reshape(-1, 3).astype(np.float32)

    def downscaled(self, n: int) -> Intrinsics:
        """The camera of a picture whose n x n blocks of pixels became one; what fills no block is cut off.

        Raises:
            ValueError: n is below 1 or greater than the picture.
        """
        if n < 1 or self.width // n < 1 or self.height // n < 1:
            raise ValueError(f"a picture of {self.width}x{self.height} cannot be downscaled by {n}")
        if n == 1:
            return self
        return Intrinsics(self.width // n, self.height // n, self.fl_x / n, self.fl_y / n, self.cx / n, self.cy / n)


@dataclass(frozen=True, eq=False)
class View:
    """One posed picture.

    Attributes:
        name: the frame's name, unique in its split, e.g. `train/r_0`.
        photo: the picture's file, or None for a camera alone.
        camera_to_world: float64 [4, 4], a proper rotation and a translation.
        intrinsics: of the picture as it is used (downscaled).
        split: `train`, `val` or `test`.

    Raises:
        ValueError: the matrix is no rotation and translation; the sentence names the frame.
    """

    name: str
    photo: Path | None
    camera_to_world: NDArray[np.float64]
    intrinsics: Intrinsics
    split: str

    def __post_init__(self) -> None:
        matrix = np.array(self.camera_to_world, np.float64)
        check_pose(matrix, self.name)
        matrix.setflags(write=False)
        object.__setattr__(self, "camera_to_world", matrix)

    @property
    def position(self) -> NDArray[np.float64]:
        """The camera's place in the world, float64 [3]."""
        return self.camera_to_world[:3, 3]

    def downscaled(self, n: int) -> View:
        """The same view of the picture downscaled by n."""
        return replace(self, intrinsics=self.intrinsics.downscaled(n))


def check_pose(matrix: NDArray[np.float64], frame: str) -> None:
    """Checks a camera-to-world matrix [4, 4].

    Raises:
        ValueError: a sentence that names the frame and the fault.
    """
    if matrix.shape != (4, 4):
        raise ValueError(f"frame '{frame}': the camera's matrix has shape {matrix.shape}; expected 4x4")
    if not np.isfinite(matrix).all():
        raise ValueError(f"frame '{frame}': the camera's matrix holds values that are not finite")
    if not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
        raise ValueError(f"frame '{frame}': the last row of the camera's matrix must be 0 0 0 1")
    if np.abs(matrix[:3, 3]).max() > _MAX_POSITION:
        raise ValueError(f"frame '{frame}': the camera is over {_MAX_POSITION:g} units away from the origin")
    rotation = matrix[:3, :3]
    # Entries of a rotation never exceed 1; the check also keeps the product below from overflowing.
    if (
        np.abs(rotation).max() > 1 + _ROTATION_TOLERANCE
        or np.abs(rotation.T @ rotation - np.eye(3)).max() > _ROTATION_TOLERANCE
    ):
        raise ValueError(f"frame '{frame}': the camera's matrix is not a rotation (the camera is scaled or sheared)")
    if np.linalg.det(rotation) < 0:
        raise ValueError(f"frame '{frame}': the camera's matrix mirrors (its determinant is negative)")
