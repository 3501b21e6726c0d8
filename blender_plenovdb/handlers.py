"""What happens by itself: jobs are watched while one runs, volumes stay where their files say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent

from .errors import PlenoError
from .jobs import session
from .jobs.watching import Job
from .volume.importing import note_levels
from .volume.levels import fields_of
from .volume.modifier import place

TICK = 0.5
"""Seconds between two looks at running jobs. The trainer writes at most twice a second."""


def watch_jobs() -> None:
    """Starts the timer in a window; in background there is none, since timers do not fire there."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=TICK, persistent=True)


def _tick() -> float | None:
    session.collect_backend_answer()
    for folder in session.active():
        try:
            session.refresh(folder)
        except PlenoError:  # the registry keeps it for the panel
            continue
    _redraw()
    return TICK if session.active() or session.is_checking_backend() else None


def _redraw() -> None:
    manager = bpy.context.window_manager
    for window in manager.windows if manager is not None else ():
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "PREFERENCES"):
                area.tag_redraw()


def _find_jobs_of_scenes() -> None:
    """Looks once at the jobs that the file's scenes remember; those that still run are watched on."""
    scene: Any
    for scene in bpy.data.scenes:
        if scene.plenovdb.job_folder:
            folder = Path(scene.plenovdb.job_folder)
            session.watch(Job(folder))
            try:
                session.refresh(folder)
            except PlenoError:  # moved or deleted since: the panel says so
                continue
    if session.active():
        watch_jobs()


def _after_start() -> None:
    """Once after enabling, when Blender's data may be used again."""
    _find_jobs_of_scenes()
    _place_all()


def _place_all() -> None:
    """A file may come from another Blender, which draws volumes elsewhere."""
    for scene in bpy.data.scenes:
        _place_fields(scene)


def _on_load(*_: object) -> None:
    for volume in bpy.data.volumes:
        note_levels(volume)
    _find_jobs_of_scenes()
    _place_all()


def _on_update(scene: bpy.types.Scene, depsgraph: Any) -> None:
    """The placement depends on name and render engine, which users change."""
    if not bpy.data.volumes:
        return
    if any(isinstance(update.id, bpy.types.Object | bpy.types.Scene) for update in depsgraph.updates):
        _place_fields(scene)


def _place_fields(scene: bpy.types.Scene) -> None:
    for volume_object in fields_of(scene):
        if volume_object.is_editable:  # objects of linked files are theirs to place
            place(volume_object, scene.render.engine)


def register() -> None:
    bpy.app.handlers.load_post.append(persistent(_on_load))
    bpy.app.handlers.depsgraph_update_post.append(persistent(_on_update))
    if not bpy.app.background:
        bpy.app.timers.register(_after_start, first_interval=0.0)


def unregister() -> None:
    pairs: tuple[tuple[Any, Any], ...] = (
        (bpy.app.handlers.load_post, _on_load),
        (bpy.app.handlers.depsgraph_update_post, _on_update),
    )
    for handlers, handler in pairs:
        if handler in handlers:
            handlers.remove(handler)
    for timer in (_tick, _after_start):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    session.forget()
