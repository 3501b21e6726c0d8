"""A pinhole camera in pixels as Blender's lens, sensor and shift. Imports no bpy."""

from __future__ import annotations

from dataclasses import dataclass

SENSOR_WIDTH = 36.0
"""Millimetres; any value does, since only the ratio of lens to sensor counts."""


@dataclass(frozen=True)
class Pinhole:
    """Focal lengths and principal point in pixels of a `width` x `height` image; (0, 0) is the outer corner of the
    top left pixel, y points down."""

    width: int
    height: int
    fl_x: float
    fl_y: float
    cx: float
    cy: float


@dataclass(frozen=True)
class Lens:
    """A Blender camera with sensor fit HORIZONTAL: millimetres; shifts in image widths; aspect of pixels at least 1."""

    lens: float
    sensor_width: float
    shift_x: float
    shift_y: float
    pixel_aspect_x: float
    pixel_aspect_y: float


def blender_lens(pinhole: Pinhole) -> Lens:
    """Exact: a point projects to the same pixel as u = cx + fl_x x / z, v = cy + fl_y y / z (z forward, y down)."""
    stretch = pinhole.fl_x / pinhole.fl_y  # the height of a pixel over its width
    return Lens(
        lens=pinhole.fl_x * SENSOR_WIDTH / pinhole.width,
        sensor_width=SENSOR_WIDTH,
        shift_x=(pinhole.width / 2 - pinhole.cx) / pinhole.width,
        shift_y=stretch * (pinhole.cy - pinhole.height / 2) / pinhole.width,
        pixel_aspect_x=max(1.0, 1.0 / stretch),
        pixel_aspect_y=max(1.0, stretch),
    )
