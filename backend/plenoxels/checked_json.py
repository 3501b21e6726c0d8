"""JSON that comes from files: read with limits, and every value checked before it is believed.

Each check raises ValueError with half a sentence that names the value; callers put the file's name in front of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MIB = 1024 * 1024


def parse_object(text: str | bytes, what: str = "the file") -> dict[str, Any]:
    """The JSON object in a text.

    Raises:
        ValueError: it is not JSON, not UTF-8, nested absurdly, or not an object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{what} is not valid JSON ({reason})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{what} must hold a JSON object, not {_kind(value)}")
    return value


def read_object(path: Path, max_bytes: int) -> dict[str, Any]:
    """The JSON object in a file of at most `max_bytes`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large or not a JSON object.
    """
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"the file is larger than {max_bytes / MIB:g} MiB")
    return parse_object(data.removeprefix(b"\xef\xbb\xbf"))


def required(values: Mapping[str, Any], name: str) -> Any:
    """values[name], which must be there."""
    if name not in values:
        raise ValueError(f"'{name}' is missing")
    return values[name]


def number(value: Any, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"'{name}' must be a number, not {_kind(value)}")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise ValueError(f"'{name}' is not a finite number")
    if not low <= result <= high:
        raise ValueError(f"'{name}' is {result:g}; it must be {_range(low, high)}")
    return result


def integer(value: Any, name: str, low: int, high: int) -> int:
    """An integer in [low, high]; 3.0 counts as 3."""
    result = number(value, name)
    if result != int(result):
        raise ValueError(f"'{name}' is {result:g}; it must be a whole number")
    if not low <= result <= high:
        raise ValueError(f"'{name}' is {result:g}; it must be {_range(low, high)}")
    return int(result)


def numbers(value: Any, name: str, count: int) -> list[float]:
    """A list of exactly `count` finite numbers."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != count:
        raise ValueError(f"'{name}' must be a list of {count} numbers")
    return [number(item, name) for item in value]


def text(value: Any, name: str, max_length: int = 4096) -> str:
    """A string of at most `max_length` characters, without zero characters."""
    if not isinstance(value, str):
        raise ValueError(f"'{name}' must be text, not {_kind(value)}")
    if len(value) > max_length or "\0" in value:
        raise ValueError(f"'{name}' must be text of at most {max_length} characters")
    return value


def mapping(value: Any, name: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise ValueError(f"'{name}' must be an object, not {_kind(value)}")
    return value


def sequence(value: Any, name: str, max_length: int) -> list[Any]:
    """A JSON list of at most `max_length` items."""
    if not isinstance(value, list):
        raise ValueError(f"'{name}' must be a list, not {_kind(value)}")
    if len(value) > max_length:
        raise ValueError(f"'{name}' has {len(value)} entries; at most {max_length} are accepted")
    return value


def _range(low: float, high: float) -> str:
    if math.isinf(high):
        return f"at least {low:g}"
    return f"at most {high:g}" if math.isinf(low) else f"{low:g} to {high:g}"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
