"""The structures of the headers in native/, member for member; pointers are plain addresses.

Whoever fills one keeps the tensors behind its addresses alive for as long as kernels run with it.
"""

import ctypes

_POINTER = ctypes.c_uint64
_FLOAT = ctypes.c_float
_INT = ctypes.c_int32


class Field(ctypes.Structure):
    _fields_ = [
        ("bricks", _POINTER),
        ("brick_density", _POINTER),
        ("brick_rows", _POINTER),
        ("rows", _POINTER),
        ("row_positions", _POINTER),
        ("row_position_start", _POINTER),
        ("clip_min", _FLOAT * 3),
        ("clip_max", _FLOAT * 3),
        ("origin", _FLOAT * 3),
        ("inverse_voxel_size", _FLOAT * 3),
        ("brick_count", _INT * 3),
        ("row_count", _INT),
    ]


class Rays(ctypes.Structure):
    _fields_ = [
        ("origins", _POINTER),
        ("directions", _POINTER),
        ("targets", _POINTER),
        ("opacities", _POINTER),
        ("jitter", _POINTER),
        ("pixels", _POINTER),
        ("transmittance", _POINTER),
    ]


class Settings(ctypes.Structure):
    _fields_ = [
        ("step", _FLOAT),
        ("weight_threshold", _FLOAT),
        ("transmittance_threshold", _FLOAT),
        ("background", _FLOAT * 3),
        ("gradient_scale", _FLOAT),
        ("linear", _INT),
        ("targets_are_gradients", _INT),
        ("opacity_weight", _FLOAT),
    ]


class Gradients(ctypes.Structure):
    _fields_ = [("rows", _POINTER), ("visibility", _POINTER), ("locks", _POINTER), ("owner", _INT), ("owners", _INT)]


class TouchedRows(ctypes.Structure):
    _fields_ = [("rows", _POINTER), ("capacity", _INT), ("count", _INT)]


class Work(ctypes.Structure):
    _fields_ = [
        ("samples", _POINTER),
        ("sample_capacity", _INT),
        ("loss", ctypes.c_double),
        ("marched", ctypes.c_int64),
        ("coloured", ctypes.c_int64),
        ("touched", TouchedRows),
        ("kept", _POINTER),
    ]


class ContributionList(ctypes.Structure):
    _fields_ = [("items", _POINTER), ("capacity", _INT), ("count", _INT), ("next_ray", _INT), ("owners", _INT)]


class RmsProp(ctypes.Structure):
    _fields_ = [
        ("gradients", _POINTER),
        ("mean_square", _POINTER),
        ("visibility", _POINTER),
        ("greatest_visibility", _POINTER),
        ("density_rate", _FLOAT),
        ("sh_rate", _FLOAT),
        ("decay", _FLOAT),
        ("density_epsilon", _FLOAT),
        ("sh_epsilon", _FLOAT),
    ]


class TotalVariation(ctypes.Structure):
    _fields_ = [("density_scale", _FLOAT), ("sh_scale", _FLOAT)]


class Resample(ctypes.Structure):
    _fields_ = [("coordinates", _POINTER), ("rows", _POINTER), ("ratio", _FLOAT * 3), ("offset", _INT * 3)]


class SilhouetteView(ctypes.Structure):
    _fields_ = [
        ("world_to_camera", _FLOAT * 12),
        ("fl_x", _FLOAT),
        ("fl_y", _FLOAT),
        ("cx", _FLOAT),
        ("cy", _FLOAT),
        ("width", _INT),
        ("height", _INT),
        ("table", ctypes.c_int64),
    ]


class Carve(ctypes.Structure):
    _fields_ = [
        ("positions", _POINTER),
        ("views", _POINTER),
        ("tables", _POINTER),
        ("kept", _POINTER),
        ("view_count", _INT),
        ("least_views", _INT),
        ("slack", _FLOAT),
    ]


LOCK_COUNT = 16384
SAMPLE_BYTES = 4 * (8 + 8 + 2 + 9)
CONTRIBUTION_BYTES = 8 + 4 * (8 + 8 + 1 + 4 + 1)
MOST_OWNERS = 64  # bits of Contribution.owners
