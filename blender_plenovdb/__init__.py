"""PlenoVDB: trains radiance volumes from posed photos and shows them in Blender.

Blender is imported when the extension is registered, so that the parts without it (`jobs`) can be used and tested alone.
"""

from __future__ import annotations


def register() -> None:
    from . import registration

    registration.register()


def unregister() -> None:
    from . import registration

    registration.unregister()
