"""Operators under `bpy.ops.plenovdb`: thin wrappers of `api`, the same for the panel, scripts and headless Blender.

| operator | properties (all optional: what is not given comes from `scene.plenovdb`) | afterwards |
|---|---|---|
| use_demo_scene | | `scene.plenovdb.dataset` is the bundled photos |
| train | those of `scene.plenovdb` (dataset, preset ...), job_folder, wait | `scene.plenovdb.job_folder` is it |
| cancel | force | the job stops, with what it has |
| attach | directory | `scene.plenovdb.job_folder` is that job |
| import_field | filepath (a .vdb or a job folder; default: the scene's job) | the Volume object is active |
| set_level | level, object_name (default: the active volume) | |
| import_cameras | job_folder, photos | cameras in a collection of their own |
| setup_scene | camera (an object's name), object_name, pixel_exact | `scene.camera`, world, render settings |
| open_log, open_folder | | |
| check_backend | wait | the panel says what was found |

`wait` blocks until it is done; the default is to wait in background and not to wait in a window.
Operators report one sentence and cancel where the API raises PlenoError; from a script that is a RuntimeError.
"""

from __future__ import annotations

import bpy

from .backend import CLASSES as BACKEND
from .scene import CLASSES as SCENE
from .training import CLASSES as TRAINING
from .volume import CLASSES as VOLUME

CLASSES: tuple[type[bpy.types.Operator], ...] = (*TRAINING, *VOLUME, *SCENE, *BACKEND)
