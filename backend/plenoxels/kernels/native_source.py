"""The text of native headers, for Warp's compilers."""

from __future__ import annotations

from pathlib import Path


def native_source(*headers: str) -> str:
    """Joins headers in their order; names are relative to this folder, as in `native/layout.h`.

    They reach the compiler as text, so that neither the path of the package nor its letters matter to it.
    """
    folder = Path(__file__).parent
    return "\n".join((folder / name).read_text("utf-8").replace("#pragma once", "") for name in headers)
