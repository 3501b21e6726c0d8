"""The sidebar tab and the preferences."""

from __future__ import annotations

from typing import Any

from .panels import CLASSES as PANELS
from .preferences import CLASSES as PREFERENCES

CLASSES: tuple[type[Any], ...] = (*PREFERENCES, *PANELS)
