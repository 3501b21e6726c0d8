"""The picture of a training: quality and speed over its seconds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plenoxels.files import replacing
from plenoxels.jobs.history import HistoryLine

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE, _DPI = (9.6, 6.4), 125
# Okabe and Ito's colours, told apart with any colour vision.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#e69f00", "#009e73", "#8a8a8a"


def draw_curves(path: Path, history: Sequence[HistoryLine], title: str, final_psnr: float | None = None) -> None:
    """Replaces `path`, a PNG, by the curves of a training.

    Above: held-out PSNR and the training loss as PSNR, -10 log10(loss), both in dB; below: rays per second. Dashed
    lines mark where a finer grid took over.

    Args:
        path: of the PNG.
        history: what `read_history` gives.
        title: above the picture.
        final_psnr: the mean over whole held-out views of the finished field, or None.

    Raises:
        ImportError: matplotlib is not installed.
        DiskFull, NotWritable: the disk refused.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(dict(matplotlib.rcParamsDefault) | {"backend": "agg"}):  # whatever the user has set
        figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        quality, speed = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        figure.suptitle(title.replace("$", r"\$"), fontsize=13)
        _draw_quality(quality, history, final_psnr)
        _draw_speed(speed, history)
        for axes in (quality, speed):
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            for seconds, _ in finer_grids(history)[1:]:
                axes.axvline(seconds, color=_GREY, linestyle="--", linewidth=0.9)
        for seconds, resolution in finer_grids(history):
            label = "×".join(map(str, resolution))
            place = {"xy": (seconds, 1), "xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            quality.annotate(label, xytext=(3, 3), color=_GREY, fontsize=8, **place)
        with replacing(path) as temporary, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a name in a script that the font lacks
            figure.savefig(temporary, format="png")


def finer_grids(history: Sequence[HistoryLine]) -> list[tuple[float, tuple[int, int, int]]]:
    """(seconds, resolution) of the first line of each resolution."""
    found: list[tuple[float, tuple[int, int, int]]] = []
    for line in history:
        if not found or found[-1][1] != line.resolution:
            found.append((line.seconds, line.resolution))
    return found


def _draw_quality(axes: Axes, history: Sequence[HistoryLine], final_psnr: float | None) -> None:
    loss = [(line.seconds, -10 * math.log10(line.loss)) for line in history if line.loss]
    measured = list(_measurements(history))
    if loss:
        axes.plot(*zip(*loss, strict=True), color=_ORANGE, linewidth=1.2, label="training loss as PSNR")
    if measured:
        axes.plot(*zip(*measured, strict=True), color=_BLUE, marker="o", markersize=3.5, label="held-out PSNR (sample)")
    if final_psnr is not None and history:
        label = f"finished field, all held-out pixels: {final_psnr:.2f} dB"
        axes.plot(
            [history[-1].seconds], [final_psnr], color=_GREEN, marker="*", markersize=13, linestyle="", label=label
        )
    axes.set_ylabel("PSNR [dB]")
    if axes.has_data():
        axes.legend(loc="lower right", frameon=False)


def _draw_speed(axes: Axes, history: Sequence[HistoryLine]) -> None:
    speed = [(line.seconds, line.rays_per_second / 1e6) for line in history if line.rays_per_second]
    if speed:
        axes.plot(*zip(*speed, strict=True), color=_BLUE, linewidth=1.2)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("million rays / s")
    axes.set_xlabel("seconds of training")


def _measurements(history: Sequence[HistoryLine]) -> Iterator[tuple[float, float]]:
    """(seconds, PSNR) where a line says another figure than the one before: each measurement once."""
    latest = None
    for line in history:
        if line.psnr is not None and line.psnr != latest:
            latest = line.psnr
            yield line.seconds, line.psnr
