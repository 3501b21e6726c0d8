"""Builds the native headers into Warp kernels: a set for each spherical-harmonics degree, compiled when first used."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import warp as wp

from plenoxels.kernels.native_source import native_source

_HEADERS = (
    "cpu/native/simd.h",
    "native/layout.h",
    "native/harmonics.h",
    "cpu/native/field.h",
    "cpu/native/march.h",
    "cpu/native/ordered.h",
    "cpu/native/render.h",
    "cpu/native/ordered_scatter.h",
    "cpu/native/optimise.h",
    "cpu/native/resample.h",
)
# Warp ignores its fast_math option on the CPU. Contraction (fused multiply-add) is all the vector code needs; NaNs
# stay NaNs.
_FLAGS = "-march=native -O3 -ffp-contract=fast"


@dataclass(frozen=True)
class NativeKernels:
    """Warp kernels over addresses of the structures in structures.py; each handles the items [begin, end) serially."""

    render: Any
    render_with_gradients: Any
    train: Any
    scatter_owned: Any
    rmsprop: Any
    total_variation: Any
    resample: Any


def native_options(*headers: str) -> dict[str, Any]:
    """A Warp module's options for native code from these headers, in their order (see native_source)."""
    return {
        "extra_build_options": wp.ModuleBuildOptions(extra_cpu_preamble=native_source(*headers)),
        "cpu_compiler_flags": _FLAGS,
        "enable_backward": False,
    }


@cache
def native_kernels(sh_degree: int) -> NativeKernels:
    """The kernels for one degree (0 to 3). Compiles: seconds when new, milliseconds from Warp's cache."""
    name = f"plenoxels_degree_{sh_degree}"
    scene = "*(const plenoxels::Field*)field, *(const plenoxels::Rays*)rays, *(const plenoxels::Settings*)settings, "
    work = "*(const plenoxels::Gradients*)gradients, *(plenoxels::Work*)work, begin, end"

    @wp.func_native(f"plenoxels::render_rays<{sh_degree}, false>({scene}{work});")
    def render_native(
        field: wp.uint64,
        rays: wp.uint64,
        settings: wp.uint64,
        gradients: wp.uint64,
        work: wp.uint64,
        begin: int,
        end: int,
    ): ...

    @wp.func_native(f"plenoxels::render_rays<{sh_degree}, true>({scene}{work});")
    def render_with_gradients_native(
        field: wp.uint64,
        rays: wp.uint64,
        settings: wp.uint64,
        gradients: wp.uint64,
        work: wp.uint64,
        begin: int,
        end: int,
    ): ...

    @wp.func_native(
        f"plenoxels::train_rays<{sh_degree}>({scene}*(const plenoxels::Gradients*)gradients, "
        "*(const plenoxels::RmsProp*)state, *(plenoxels::Work*)work, rays_together, begin, end);"
    )
    def train_native(
        field: wp.uint64,
        rays: wp.uint64,
        settings: wp.uint64,
        gradients: wp.uint64,
        state: wp.uint64,
        work: wp.uint64,
        rays_together: int,
        begin: int,
        end: int,
    ): ...

    @wp.func_native(
        f"plenoxels::scatter_owned<{sh_degree}>(*(const plenoxels::Field*)field, *(const plenoxels::Rays*)rays, "
        "*(const plenoxels::Gradients*)gradients, (const plenoxels::ContributionList*)lists, count);"
    )
    def scatter_owned_native(field: wp.uint64, rays: wp.uint64, gradients: wp.uint64, lists: wp.uint64, count: int): ...

    @wp.func_native(
        f"*(int*)touched = plenoxels::rmsprop<{sh_degree}>(*(const plenoxels::Field*)field, "
        "*(const plenoxels::RmsProp*)state, begin, end);"
    )
    def rmsprop_native(field: wp.uint64, state: wp.uint64, touched: wp.uint64, begin: int, end: int): ...

    @wp.func_native(
        f"plenoxels::total_variation<{sh_degree}>(*(const plenoxels::Field*)field, "
        "*(const plenoxels::Gradients*)gradients, *(const plenoxels::TotalVariation*)settings, first, begin, end);"
    )
    def total_variation_native(
        field: wp.uint64, gradients: wp.uint64, settings: wp.uint64, first: int, begin: int, end: int
    ): ...

    @wp.func_native(
        f"plenoxels::resample<{sh_degree}>(*(const plenoxels::Field*)field, "
        "*(const plenoxels::Resample*)work, begin, end);"
    )
    def resample_native(field: wp.uint64, work: wp.uint64, begin: int, end: int): ...

    module = wp.get_module(name)
    module.options.update(native_options(*_HEADERS))

    @wp.kernel(module=module)
    def render(
        field: wp.uint64,
        rays: wp.uint64,
        settings: wp.uint64,
        gradients: wp.uint64,
        work: wp.uint64,
        begin: int,
        end: int,
    ):
        render_native(field, rays, settings, gradients, work, begin, end)

    @wp.kernel(module=module)
    def render_with_gradients(
        field: wp.uint64,
        rays: wp.uint64,
        settings: wp.uint64,
        gradients: wp.uint64,
        work: wp.uint64,
        begin: int,
        end: int,
    ):
        render_with_gradients_native(field, rays, settings, gradients, work, begin, end)

    @wp.kernel(module=module)
    def train(
        field: wp.uint64,
        rays: wp.uint64,
        settings: wp.uint64,
        gradients: wp.uint64,
        state: wp.uint64,
        work: wp.uint64,
        rays_together: int,
        begin: int,
        end: int,
    ):
        train_native(field, rays, settings, gradients, state, work, rays_together, begin, end)

    @wp.kernel(module=module)
    def scatter_owned(field: wp.uint64, rays: wp.uint64, gradients: wp.uint64, lists: wp.uint64, count: int):
        scatter_owned_native(field, rays, gradients, lists, count)

    @wp.kernel(module=module)
    def rmsprop(field: wp.uint64, state: wp.uint64, touched: wp.uint64, begin: int, end: int):
        rmsprop_native(field, state, touched, begin, end)

    @wp.kernel(module=module)
    def total_variation(field: wp.uint64, gradients: wp.uint64, settings: wp.uint64, first: int, begin: int, end: int):
        total_variation_native(field, gradients, settings, first, begin, end)

    @wp.kernel(module=module)
    def resample(field: wp.uint64, work: wp.uint64, begin: int, end: int):
        resample_native(field, work, begin, end)

    wp.load_module(module, device="cpu")
    return NativeKernels(render, render_with_gradients, train, scatter_owned, rmsprop, total_variation, resample)
