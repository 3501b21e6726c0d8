"""A job's state in words."""

from __future__ import annotations

from .status import JobStatus


def duration(seconds: float) -> str:
    """`42 s`, `3:05 min` or `1:02 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def rate(rays_per_second: float) -> str:
    """`0.42 million rays/s` or `950 rays/s`."""
    if rays_per_second >= 10000:
        return f"{rays_per_second / 1e6:.2f} million rays/s"
    return f"{rays_per_second:.0f} rays/s"


def one_line(status: JobStatus) -> str:
    """Where the job stands, for a console."""
    parts = [f"{status.stage} {status.progress:4.0%}"]
    if status.iteration:
        parts.append(f"iteration {status.iteration}")
    if status.rays_per_second:
        parts.append(rate(status.rays_per_second))
    if status.psnr is not None:
        parts.append(f"held-out {status.psnr:.2f} dB")
    if status.eta_seconds is not None and not status.is_over:
        parts.append(f"{duration(status.eta_seconds)} left")
    if status.message:
        parts.append(status.message)
    if status.error is not None:
        parts.append(f"{status.error.message} {status.error.fix}")
    return f"{status.state}: {', '.join(parts)}"
