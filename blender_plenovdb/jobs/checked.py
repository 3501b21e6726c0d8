"""Reading JSON that others wrote: limits before parsing, a type check before every use."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

MAX_TEXT = 4096
"""Longest string that is believed, in characters."""


class Invalid(ValueError):
    """A value that does not keep to its contract; the text says which and why, as the end of a sentence."""


def read_object(path: Path, limit: int) -> dict[str, Any]:
    """The JSON object in `path`, at most `limit` bytes. Raises OSError, or Invalid for anything but an object."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Invalid(f"is larger than {limit // 1024} KiB")
    return parse_object(data)


def parse_object(data: bytes | str) -> dict[str, Any]:
    """`data` as a JSON object. NaN and infinities are refused, since JSON has none."""
    try:
        value = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Invalid("is not valid JSON") from error
    if not isinstance(value, dict):
        raise Invalid("holds no JSON object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def integer(values: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Invalid(f"has no whole number from {low} to {high} as {key}")
    return value


def number(values: Mapping[str, Any], key: str, low: float = -math.inf, high: float = math.inf) -> float:
    value = values.get(key)
    if not _is_number(value) or not low <= float(value) <= high:
        raise Invalid(f"has no usable number as {key}")
    return float(value)


def optional_number(values: Mapping[str, Any], key: str) -> float | None:
    return None if values.get(key) is None else number(values, key)


def numbers(values: Mapping[str, Any], key: str, count: int) -> tuple[float, ...]:
    value = values.get(key)
    if not isinstance(value, list) or len(value) != count or not all(_is_number(item) for item in value):
        raise Invalid(f"has no list of {count} numbers as {key}")
    return tuple(float(item) for item in value)


def text(values: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = values.get(key, default)
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise Invalid(f"has no usable text as {key}")
    return value


def choice(values: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> str:
    value = text(values, key)
    if value not in allowed:
        raise Invalid(f"has {key} {value[:40]!r}, which is none of {', '.join(allowed)}")
    return value


def mapping(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = values.get(key)
    if not isinstance(value, dict):
        raise Invalid(f"has no object as {key}")
    return value


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:  # an int beyond a float's range
        return False


def write_object(path: Path, values: Mapping[str, Any]) -> None:
    """Writes JSON so that readers of `path` see the old or the new object. Raises OSError.

    Not forced to the disk: that takes longer than Blender's main thread has, and the file can be written again.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            json.dump(values, file, indent=1, ensure_ascii=False, allow_nan=False)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
