"""The native carving of points by silhouettes; it runs on the CPU whichever device trains."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
import warp as wp

from plenoxels.kernels.cpu.native_module import native_options
from plenoxels.kernels.cpu.structures import Carve, SilhouetteView
from plenoxels.kernels.cpu.threads import ThreadPool
from plenoxels.kernels.warp_start import start_warp


@cache
def _carve_kernel() -> Any:
    start_warp()
    module = wp.get_module("plenoxels_carving")
    module.options.update(native_options("cpu/native/simd.h", "cpu/native/carve.h"))

    @wp.func_native("plenoxels::carve(*(const plenoxels::Carve*)work, begin, end);")
    def carve_native(work: wp.uint64, begin: int, end: int): ...

    @wp.kernel(module=module)
    def carve(work: wp.uint64, begin: int, end: int):
        carve_native(work, begin, end)

    return carve


def carve_points(
    positions: torch.Tensor,
    views: list[SilhouetteView],
    tables: torch.Tensor,
    slack: float,
    least_views: int,
    threads: int | None = None,
) -> torch.Tensor:
    """Which points are kept, bool [N] (native/carve.h).

    Args:
        positions: float32 [N, 3], world.
        views: the cameras; `table` says where each one's table starts.
        tables: int32, the summed-area tables of all masks.
        slack: world units.
        least_views: a point that fewer views see is not kept.
        threads: None: all.
    """
    positions = positions.to("cpu", torch.float32).contiguous()
    kept = torch.zeros(len(positions), dtype=torch.uint8)
    cameras = (SilhouetteView * len(views))(*views)
    work = Carve(
        positions=positions.data_ptr(),
        views=ctypes.addressof(cameras),
        tables=tables.data_ptr(),
        kept=kept.data_ptr(),
        view_count=len(views),
        least_views=least_views,
        slack=slack,
    )
    kernel, pool = _carve_kernel(), ThreadPool(threads)

    def carve(worker: int, begin: int, end: int) -> None:
        wp.launch(kernel, dim=1, inputs=[ctypes.addressof(work), begin, end], device="cpu")

    try:
        pool.run(len(positions), carve, smallest_chunk=4096)
    finally:
        pool.close()
    return kept.bool()
