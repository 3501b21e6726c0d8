"""Registers and unregisters everything, in an order that can be undone halfway."""

from __future__ import annotations

from typing import Any

import bpy

from . import handlers, places, properties
from .operators import CLASSES as OPERATORS
from .ui import CLASSES as UI

CLASSES: tuple[type[Any], ...] = (*properties.CLASSES, *OPERATORS, *UI)


def register_all() -> None:
    places.expose_openvdb()
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    properties.attach()
    handlers.register()


def unregister_all() -> None:
    handlers.unregister()
    properties.detach()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
