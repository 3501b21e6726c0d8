"""Asking whether the backend can train here."""

from __future__ import annotations

import bpy

from .. import api, handlers, places
from ..declared import declared, props
from ..jobs import session
from .running import Running
from .training import WAIT


@declared(wait=props.BoolProperty(name="Wait", description=WAIT, options={"SKIP_SAVE"}))
class PLENOVDB_OT_check_backend(Running, bpy.types.Operator):
    """Ask the backend which device, libraries and space it finds, and what is wrong"""

    bl_idname = "plenovdb.check_backend"
    bl_label = "Check Backend"

    wait: bool

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if session.is_checking_backend():
            cls.poll_message_set("The backend is being asked already")
            return False
        return True

    def run(self, context: bpy.types.Context) -> None:
        environment = places.backend_environment()
        wait = self.wait if self.properties.is_property_set("wait") else bpy.app.background
        if not wait:
            session.start_backend_check(environment)
            handlers.watch_jobs()
            return
        try:
            report = api.check_backend(environment)
        except api.PlenoError as error:
            session.remember_backend_answer(error)
            raise
        session.remember_backend_answer(report)
        warnings = tuple(f"{problem.what} {problem.fix}" for problem in report.problems)
        self.say(f"plenoxels {report.version}, {report.device}", warnings)


CLASSES = (PLENOVDB_OT_check_backend,)
