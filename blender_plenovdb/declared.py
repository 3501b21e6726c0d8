"""Blender properties on classes that type checkers understand.

Blender reads properties from annotations, where `dataset: StringProperty()` is no type. So the class says the types
in plain annotations, and the decorator hands Blender the properties under the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import bpy

Class = TypeVar("Class", bound=type)

props: Any = bpy.props
"""Blender's stubs say that its properties are None."""


def declared(**properties: Any) -> Callable[[Class], Class]:
    """Declares Blender properties; each needs a plain annotation of the same name in the class."""

    def declare(cls: Class) -> Class:
        annotations = getattr(cls, "__annotations__", {})
        missing = properties.keys() - annotations.keys()
        if missing:
            raise TypeError(f"{cls.__name__} lacks annotations for {', '.join(sorted(missing))}")
        cls.__annotations__ = dict(properties)
        return cls

    return declare
