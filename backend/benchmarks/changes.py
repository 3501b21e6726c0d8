"""Changes of a recipe as short texts: `density_rate*2`, `stages+1`, `use_alpha=false`, several with spaces between."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from plenoxels.training.recipe import Recipe

_PART = re.compile(r"([A-Za-z_]\w*)([=*/+-])(.+)")


def changed(base: Recipe, change: str) -> Recipe:
    """The recipe with a change made to it; `*`, `/`, `+` and `-` start from the base's value.

    Raises:
        ValueError: a sentence about the part at fault: no such setting, no number, out of range.
    """
    values: dict[str, Any] = {}
    for part in change.split():
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is none of NAME=VALUE, NAME*FACTOR, NAME/FACTOR, NAME+NUMBER and NAME-NUMBER.")
        name, sign, text = match.groups()
        before = getattr(base, name, None)
        if sign == "=" or isinstance(before, bool) or not isinstance(before, int | float):
            values[name] = text  # with_overrides says what is wrong with an unknown name
        else:
            values[name] = _reckon(part, before, sign, text)
    return base.with_overrides(values)


def difference(base: Recipe, other: Recipe) -> dict[str, Any]:
    """The settings in which a recipe differs from the base, with its values."""
    before, after = dataclasses.asdict(base), dataclasses.asdict(other)
    return {name: value for name, value in after.items() if value != before[name]}


def _reckon(part: str, before: float, sign: str, text: str) -> float:
    try:
        number = float(text)
        if sign == "*":
            result = before * number
        elif sign == "/":
            result = before / number
        else:
            result = before + number if sign == "+" else before - number
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{part!r} cannot be reckoned: {text!r} must be a number other than 0.") from None
    return float(f"{result:.6g}")  # 0.03 / 1.5 is meant as 0.02
