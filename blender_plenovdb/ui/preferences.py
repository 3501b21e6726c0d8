"""The extension's preferences: which interpreter runs the backend."""

from __future__ import annotations

import bpy

from ..declared import declared, props
from ..errors import PlenoError
from ..jobs import session
from ..jobs.environment import INTERPRETER_VARIABLE
from .text import draw_problem, draw_wrapped


@declared(
    interpreter=props.StringProperty(
        name="Backend's Python",
        description="The Python that has the package plenoxels installed; "
        f"empty: the environment variable {INTERPRETER_VARIABLE}",
        subtype="FILE_PATH",
    )
)
class PlenoVDBPreferences(bpy.types.AddonPreferences):
    bl_idname = (__package__ or "").rpartition(".")[0]

    interpreter: str

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "interpreter")
        layout.operator("plenovdb.check_backend", icon="CHECKMARK")
        width = context.region.width if context.region is not None else 600
        if session.is_checking_backend():
            layout.label(text="Asking the backend ...", icon="SORTTIME")
        draw_backend(layout, width)


def draw_backend(layout: bpy.types.UILayout, width: int) -> None:
    """What the backend said last."""
    answer = session.backend_answer()
    if answer is None:
        return
    if isinstance(answer, PlenoError):
        draw_problem(layout, answer.what, answer.fix, width)
        return
    box = layout.box()
    state = "CHECKMARK" if not answer.problems else "ERROR"
    draw_wrapped(box, f"plenoxels {answer.version}, {answer.device}", width, icon=state)
    draw_wrapped(box, f"Python {answer.python}, torch {answer.torch}, warp {answer.warp}", width)
    for problem in answer.problems:
        draw_problem(layout, problem.what, problem.fix, width)


CLASSES = (PlenoVDBPreferences,)
