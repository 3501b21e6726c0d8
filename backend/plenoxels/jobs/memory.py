"""How much memory this process holds, as status.json says it."""

from __future__ import annotations

from plenoxels.system_memory import MB, process_memory


def memory_mb() -> tuple[float, float]:
    """Resident memory of this process now and at its peak, in MB."""
    now, peak = process_memory()
    return now / MB, peak / MB
