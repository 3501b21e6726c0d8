"""Chooses the kernels for a device's name."""

from __future__ import annotations

import torch
import warp as wp

from plenoxels.errors import DeviceMissing
from plenoxels.kernels.interface import Adding, Kernels
from plenoxels.kernels.warp_start import start_warp


def open_kernels(device: str = "auto", threads: int | None = None, adding: Adding = Adding.EXACT) -> Kernels:
    """Kernels for `cpu`, `cuda`, `cuda:1`, ... or the best there is (`auto`).

    Args:
        device: the device's name.
        threads: CPU threads; None: all that this process may use.
        adding: how the CPU's threads add gradients; `auto` is the CPU where they are to be ordered.

    Raises:
        DeviceMissing: CUDA was asked for and is not there, or for the same bits each time, which it cannot give.
    """
    start_warp()
    if device == "auto":
        has_cuda = torch.cuda.is_available() and wp.is_cuda_available()
        device = "cuda" if has_cuda and adding is not Adding.ORDERED else "cpu"
    if device == "cpu":
        from plenoxels.kernels.cpu.kernels import CpuKernels

        return CpuKernels(threads, adding)
    if not device.startswith("cuda"):
        raise DeviceMissing(f"The device is called {device!r}.", "Use auto, cpu, cuda or cuda:N.")
    if adding is Adding.ORDERED:
        raise DeviceMissing(
            "The same bits each time were asked for on CUDA, which adds gradients in whatever order its threads run.",
            "Use --device cpu, or leave --deterministic out.",
        )
    if not torch.cuda.is_available():
        built = "was built without CUDA" if torch.version.cuda is None else "finds no NVIDIA GPU or driver"
        raise DeviceMissing(
            f"CUDA was asked for, but torch {torch.__version__} {built}.", "Use --device cpu, or see `doctor`."
        )
    from plenoxels.kernels.cuda.kernels import CudaKernels

    return CudaKernels(device)
