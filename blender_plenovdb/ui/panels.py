"""The sidebar tab in the 3D view, in the order of work. Drawing reads Blender's data and the session, never a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..jobs import session
from ..jobs.describing import duration, rate
from ..jobs.status import JobStatus
from ..operators.running import scene_of, shown_field
from ..operators.training import has_running_job
from ..volume.importing import DENSE_WARNING_MB, EEVEE_ATTRIBUTES
from .preferences import draw_backend
from .text import draw_problem, draw_wrapped


class SidebarPanel:
    """Where all panels of the tab are."""

    bl_space_type: Any = "VIEW_3D"
    bl_region_type: Any = "UI"
    bl_category = "PlenoVDB"


def width_of(context: bpy.types.Context) -> int:
    """Pixels that a panel has."""
    return context.region.width if context.region is not None else 300


class PLENOVDB_PT_dataset(SidebarPanel, bpy.types.Panel):
    bl_label = "Dataset"

    def draw(self, context: bpy.types.Context) -> None:
        settings = scene_of(context).plenovdb
        column = self.layout.column()
        column.prop(settings, "dataset", text="")
        column.operator("plenovdb.use_demo_scene", icon="PACKAGE")


class PLENOVDB_PT_training(SidebarPanel, bpy.types.Panel):
    bl_label = "Training"

    def draw(self, context: bpy.types.Context) -> None:
        scene = scene_of(context)
        layout: Any = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        running = has_running_job(scene)
        column = layout.column()
        column.enabled = not running
        for name in ("preset", "max_seconds", "downscale", "device", "output"):
            column.prop(scene.plenovdb, name)
        buttons = layout.column(align=True)
        if running:
            buttons.operator("plenovdb.cancel", icon="CANCEL")
        else:
            row = buttons.row()
            row.scale_y = 1.4
            row.operator("plenovdb.train", icon="PLAY")
            buttons.operator("plenovdb.attach", icon="LINKED")
        self._draw_job(context)

    def _draw_job(self, context: bpy.types.Context) -> None:
        stored = scene_of(context).plenovdb.job_folder
        if not stored:
            return
        folder = Path(stored)
        width = width_of(context)
        status, problem = session.last_seen(folder), session.problem(folder)
        box = self.layout.box()
        row = box.row()
        row.label(text=folder.name, icon="FILE_FOLDER")
        row.operator("plenovdb.open_folder", text="", icon="FILEBROWSER", emboss=False)
        row.operator("plenovdb.open_log", text="", icon="TEXT", emboss=False)
        if problem is not None:
            draw_problem(box, problem.what, problem.fix, width)
        elif status is not None:
            draw_status(box, status, width)


def draw_status(layout: bpy.types.UILayout, status: JobStatus, width: int) -> None:
    """Progress, figures, and the error with what to do."""
    if status.error is not None:
        draw_problem(layout, status.error.message, status.error.fix, width)
        layout.operator("plenovdb.open_log", icon="TEXT")
        return
    stage = status.state.capitalize() if status.is_over else status.stage.capitalize()
    layout.progress(factor=status.progress, type="BAR", text=f"{stage} {status.progress:.0%}")
    figures: list[tuple[str, str]] = []
    if not status.is_over:
        if status.eta_seconds is not None:
            figures.append(("Time left", duration(status.eta_seconds)))
        if status.rays_per_second:
            figures.append(("Speed", rate(status.rays_per_second)))
    if status.psnr is not None:
        figures.append(("Held-out PSNR", f"{status.psnr:.2f} dB"))
    if status.resolution is not None:
        figures.append(("Voxels", " x ".join(map(str, status.resolution))))
    if status.seconds:
        figures.append(("Trained", duration(status.seconds)))
    if status.device:
        figures.append(("Device", status.device))
    draw_figures(layout, figures)
    if status.message and not status.is_over:
        draw_wrapped(layout, status.message, width)


def draw_figures(layout: bpy.types.UILayout, figures: list[tuple[str, str]]) -> None:
    """Names on the left, values on the right."""
    column = layout.column(align=True)
    column.scale_y = 0.85
    for name, value in figures:
        split = column.split(factor=0.42)
        split.label(text=name)
        split.label(text=value)


class PLENOVDB_PT_advanced(SidebarPanel, bpy.types.Panel):
    bl_label = "Advanced"
    bl_parent_id = "PLENOVDB_PT_training"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout: Any = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        column = layout.column()
        column.enabled = not has_running_job(scene_of(context))
        for name in ("compositing", "levels", "threads", "settings"):
            column.prop(scene_of(context).plenovdb, name)
        layout.operator("plenovdb.check_backend", icon="CHECKMARK")
        draw_backend(layout, width_of(context))


class PLENOVDB_PT_volume(SidebarPanel, bpy.types.Panel):
    bl_label = "Volume"

    def draw(self, context: bpy.types.Context) -> None:
        layout: Any = self.layout
        stored = scene_of(context).plenovdb.job_folder
        row = layout.row(align=True)
        trained = row.row(align=True)
        status = session.last_seen(Path(stored)) if stored else None
        trained.enabled = bool(stored) and (status is None or status.field is not None or bool(status.levels))
        trained.operator_context = "EXEC_DEFAULT"
        trained.operator("plenovdb.import_field", text="Import Trained Field", icon="IMPORT")
        row.operator("plenovdb.import_field", text="", icon="FILEBROWSER")
        field = shown_field(context)
        if field is not None:
            draw_field(layout, field, context)


def draw_field(layout: bpy.types.UILayout, field: bpy.types.Object, context: bpy.types.Context) -> None:
    """The volume: its levels of detail as buttons, figures, warnings."""
    settings: Any = field.data.plenovdb
    box = layout.box()
    box.label(text=field.name, icon="OUTLINER_OB_VOLUME")
    box.label(text="Level of Detail")
    column = box.column(align=True)
    for item in settings.levels:
        size = " x ".join(map(str, item.resolution))
        button = column.operator(
            "plenovdb.set_level", text=f"{item.number}:  {size}", depress=item.number == settings.level
        )
        button.level, button.object_name = item.number, field.name
    shown = next((item for item in settings.levels if item.number == settings.level), None)
    figures = [("Degree", str(settings.sh_degree)), ("Compositing", settings.compositing)]
    if settings.held_out_psnr:
        figures.append(("Held-out PSNR", f"{settings.held_out_psnr:.2f} dB"))
    if shown is not None:
        figures += [("Sparse", f"{shown.sparse_mb:.0f} MB"), ("Dense (EEVEE)", f"{shown.dense_mb:.0f} MB")]
    draw_figures(box, figures)
    engine: str = scene_of(context).render.engine
    if engine == "CYCLES":
        return
    width = width_of(context)
    if 1 + (settings.sh_degree + 1) ** 2 > EEVEE_ATTRIBUTES:
        draw_problem(box, f"EEVEE reads only {EEVEE_ATTRIBUTES} grids of a material.", "Render in Cycles.", width)
    elif shown is not None and shown.dense_mb > DENSE_WARNING_MB:
        draw_problem(
            box,
            f"EEVEE needs about {shown.dense_mb / 1000:.1f} GB for this level.",
            "Choose a coarser level of detail, or render in Cycles.",
            width,
        )


class PLENOVDB_PT_scene(SidebarPanel, bpy.types.Panel):
    bl_label = "Scene"

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column()
        column.operator("plenovdb.import_cameras", icon="CAMERA_DATA")
        column.operator("plenovdb.setup_scene", icon="SCENE_DATA")


CLASSES = (PLENOVDB_PT_dataset, PLENOVDB_PT_training, PLENOVDB_PT_advanced, PLENOVDB_PT_volume, PLENOVDB_PT_scene)
