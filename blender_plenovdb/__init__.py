"""PlenoVDB: trains radiance volumes from posed photos and shows them in Blender.

Blender is imported when the extension is registered, so that the parts without it can be used and
tested alone.
"""

from __future__ import annotations


def register() -> None:
    from .registration import register_all

    register_all()


def unregister() -> None:
    from .registration import unregister_all

    unregister_all()
