"""Starts Warp without its announcements: stdout belongs to a command's own answer."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import cache

import warp as wp

_NO_DRIVER = "Could not find or load the NVIDIA CUDA driver"


@cache
def start_warp() -> None:
    """Initialises Warp; later calls do nothing.

    On a machine without a GPU Warp's native part writes a warning to stderr that reads like a fault. It is left out;
    whatever
    else it writes is passed on.
    """
    wp.config.log_level = wp.LOG_ERROR
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # no stderr at all
        wp.init()
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        os.dup2(said.fileno(), 2)
        try:
            wp.init()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        said.seek(0)
        sys.stderr.write("".join(line for line in said if _NO_DRIVER not in line))
