"""Large buffers: aligned for SIMD and, on the CPU, in huge pages where the system has them.

Rays touch rows at random; with 4 KiB pages most touches also miss the processor's address cache.
"""

from __future__ import annotations

import mmap
from math import prod

import numpy as np
import torch

_HUGE = 2 << 20


def huge_page_zeros(
    shape: tuple[int, ...], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """A zero tensor. On the CPU it starts on a page's boundary and large ones ask for huge pages.

    Raises:
        MemoryError: the system has no address space or memory left for it.
    """
    size = prod(shape) * torch.empty(0, dtype=dtype).element_size()
    if torch.device(device).type != "cpu" or size < _HUGE:
        return torch.zeros(shape, dtype=dtype, device=device)
    try:
        pages = mmap.mmap(-1, size + _HUGE)
    except OSError as error:
        raise MemoryError(f"{size / 2**20:.0f} MB could not be reserved: {error}.") from error
    if hasattr(pages, "madvise") and hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)
    raw = np.frombuffer(pages, np.uint8)
    start = -raw.ctypes.data % _HUGE
    return torch.from_numpy(raw[start : start + size]).view(dtype).reshape(shape)
