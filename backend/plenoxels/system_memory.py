"""How much memory there is and how much this process holds."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

MB = 1024 * 1024


def process_memory() -> tuple[int, int]:
    """Bytes of main memory that this process holds now, and at its peak."""
    held = psutil.Process().memory_info()
    if sys.platform == "win32":
        return held.rss, held.peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held.rss, max(held.rss, peak if sys.platform == "darwin" else peak * 1024)


def available_memory() -> int:
    """Bytes of main memory that this process may still take: the system's, or its container's where that is less."""
    return max(0, min([psutil.virtual_memory().available, *_control_groups()]))


def _control_groups(
    membership: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """Bytes left in each of the Linux control groups (versions 1 and 2) around this process that has a limit."""
    try:
        lines = membership.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        _, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "-", "")
        if controllers == "":
            root, limit, usage, cache = mounted, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, usage = mounted / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        inner = Path(path.lstrip("/"))
        for folder in (root / inner, *(root / parent for parent in inner.parents)):
            # The root has no files, and a container may not see the outer groups: those bound nothing here.
            with contextlib.suppress(OSError, ValueError):
                allowed = int((folder / limit).read_text("ascii"))  # "max" where there is none
                used = int((folder / usage).read_text("ascii"))
                yield allowed - used + _file_cache(folder, cache)


def _file_cache(folder: Path, name: str) -> int:
    """Bytes of file cache that the system gives up as soon as somebody needs them."""
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text("ascii").splitlines():
            key, value = line.split()
            if key == name:
                return int(value)
    return 0
