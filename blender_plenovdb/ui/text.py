"""Longer texts in a layout: Blender's labels do not wrap."""

from __future__ import annotations

import textwrap
from typing import Any

import bpy

_PIXELS_PER_CHARACTER = 7.0


def draw_wrapped(layout: bpy.types.UILayout, text: str, width: int, *, icon: Any = "NONE") -> None:
    """Draws a paragraph. width: of the region, in pixels."""
    scale = bpy.context.preferences.system.ui_scale
    characters = max(20, int((width - 60 * scale) / (_PIXELS_PER_CHARACTER * scale)))
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(textwrap.wrap(text, characters, break_long_words=True)):
        column.label(text=line, icon=icon if number == 0 else ("BLANK1" if icon != "NONE" else "NONE"))


def draw_problem(layout: bpy.types.UILayout, what: str, fix: str, width: int) -> None:
    """What happened, and what to do."""
    box = layout.box()
    box.alert = True
    draw_wrapped(box, what, width, icon="ERROR")
    if fix:
        calm = box.column()
        calm.alert = False
        draw_wrapped(calm, fix, width)
