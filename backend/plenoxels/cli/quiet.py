"""Keeps libraries from talking on stdout, which belongs to the command's own answer."""

from __future__ import annotations


def quieten_libraries() -> None:
    """Warp announces itself and every module it loads; only its errors are of use here."""
    import warp

    warp.config.log_level = warp.LOG_ERROR
