"""The name under which Blender imports the installed extension."""

from __future__ import annotations

PACKAGE = "bl_ext.user_default.blender_plenovdb"
