"""How much memory this process holds, with the standard library alone."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

_MB = 1024 * 1024


def memory_mb() -> tuple[float, float]:
    """Resident memory of this process now and at its peak, in MB; (0, 0) where the system does not tell."""
    if sys.platform == "win32":
        return _windows()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mb = peak / _MB if sys.platform == "darwin" else peak / 1024
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / _MB, peak_mb
    return peak_mb, peak_mb  # macOS tells only the peak without further libraries


def _windows() -> tuple[float, float]:
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):
        _fields_ = [
            ("cb", wintypes.DWORD),
            ("PageFaultCount", wintypes.DWORD),
            ("PeakWorkingSetSize", ctypes.c_size_t),
            ("WorkingSetSize", ctypes.c_size_t),
            ("QuotaPeakPagedPoolUsage", ctypes.c_size_t),
            ("QuotaPagedPoolUsage", ctypes.c_size_t),
            ("QuotaPeakNonPagedPoolUsage", ctypes.c_size_t),
            ("QuotaNonPagedPoolUsage", ctypes.c_size_t),
            ("PagefileUsage", ctypes.c_size_t),
            ("PeakPagefileUsage", ctypes.c_size_t),
        ]

    kernel32 = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    kernel32.GetCurrentProcess.restype = wintypes.HANDLE
    read = kernel32.K32GetProcessMemoryInfo
    read.argtypes = [wintypes.HANDLE, ctypes.c_void_p, wintypes.DWORD]
    counters = Counters(cb=ctypes.sizeof(Counters))
    if not read(kernel32.GetCurrentProcess(), ctypes.byref(counters), counters.cb):
        return 0.0, 0.0
    return counters.WorkingSetSize / _MB, counters.PeakWorkingSetSize / _MB
