"""A picture that shows at a glance how good a field is: photo, render and error of views from the worst to the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from plenoxels.colour import to_bytes
from plenoxels.evaluation.evaluate import EvaluationResult, ViewScores, scores_text
from plenoxels.files import replacing

MOST_ROWS = 8
_MOST_KEPT = 64
ERROR_GAIN = 4
EDGE = 320
_LEAST_COLUMN = 150  # room for the captions
MARGIN, GAP = 24, 10
HEADER, CAPTION = 110, 32
_PAPER, _INK, _FAINT = (30, 30, 33), (238, 238, 238), (165, 165, 170)
_TITLE_SIZE, _TEXT_SIZE = 22, 14
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_COLUMNS = ("photo", "render", f"error × {ERROR_GAIN}")
# The colour map "inferno" of Smith and van der Walt (CC0) at equal steps: equal differences look equal.
_ERROR_COLOURS = (
    (0, 0, 4), (11, 7, 36), (33, 12, 74), (61, 9, 101), (87, 16, 110), (113, 25, 110), (138, 34, 106),
    (163, 44, 97), (188, 55, 84), (210, 70, 68), (228, 90, 49), (241, 115, 29), (249, 142, 9), (252, 172, 17),
    (249, 203, 53), (242, 234, 105), (252, 255, 164),
)  # fmt: skip


class ContactSheet:
    """Collects the views of one evaluation and draws the sheet.

    Rows are at most MOST_ROWS views: the worst, the best and those between at equal steps of the ranking by PSNR. The
    error is the mean of the channels' absolute differences of sRGB-encoded values, times ERROR_GAIN.

    Only thumbnails are kept, and of many views only every n-th beside the worst and the best: at most 45 MB.
    """

    def __init__(self, views: int) -> None:
        """`views`: how many will be added."""
        self._every = max(1, -(-views // _MOST_KEPT))
        self._seen = 0
        self._rows: list[_Row] = []
        self._worst: _Row | None = None
        self._best: _Row | None = None

    def add(self, scores: ViewScores, photo: NDArray[np.float32], picture: NDArray[np.float32]) -> None:
        """One view: its scores, photo and picture, [height, width, 3], sRGB-encoded in 0..1 (the last is clipped)."""
        is_kept = self._seen % self._every == 0
        self._seen += 1
        is_worst = self._worst is None or scores.psnr < self._worst.scores.psnr
        is_best = self._best is None or scores.psnr > self._best.scores.psnr
        if not (is_kept or is_worst or is_best):
            return
        row = _Row.of(scores, photo, picture)
        if is_kept:
            self._rows.append(row)
        self._worst = row if is_worst else self._worst
        self._best = row if is_best else self._best

    def write(self, path: Path, title: str, result: EvaluationResult) -> None:
        """Replaces `path`, a PNG, by the sheet.

        Args:
            path: of the PNG.
            title: what was measured.
            result: of all views.

        Raises:
            DiskFull, NotWritable: the disk refused.
        """
        plural = "" if len(result.views) == 1 else "s"
        sheet = _compose(title, f"{len(result.views)} view{plural}: {result.summary()}", self._chosen())
        with replacing(path) as temporary:
            sheet.save(temporary)

    def _chosen(self) -> list[_Row]:
        rows = {id(row): row for row in (*self._rows, self._worst, self._best) if row is not None}
        ranking = sorted(rows.values(), key=lambda row: row.scores.psnr)
        steps = np.linspace(0, len(ranking) - 1, min(MOST_ROWS, len(ranking)))
        chosen = [ranking[round(step)] for step in steps]
        if len(chosen) > 1:
            chosen[0], chosen[-1] = replace(chosen[0], rank="  (worst)"), replace(chosen[-1], rank="  (best)")
        return chosen


@dataclass(frozen=True)
class _Row:
    """One view's thumbnails, at most EDGE pixels long: uint8 [h, w, 3], and the magnified error uint8 [h, w]."""

    scores: ViewScores
    photo: NDArray[np.uint8]
    picture: NDArray[np.uint8]
    error: NDArray[np.uint8]
    rank: str = ""

    @classmethod
    def of(cls, scores: ViewScores, photo: NDArray[np.float32], picture: NDArray[np.float32]) -> _Row:
        """A row of full-size pictures."""
        error = np.abs(np.clip(np.nan_to_num(picture), 0, 1) - photo).mean(-1, dtype=np.float32)
        return cls(
            scores,
            np.asarray(_fit(Image.fromarray(to_bytes(photo)))),
            np.asarray(_fit(Image.fromarray(to_bytes(picture)))),
            to_bytes(np.asarray(_fit(Image.fromarray(error))) * ERROR_GAIN),  # averaged before it is clipped
        )

    @property
    def height(self) -> int:
        return self.photo.shape[0]

    @property
    def width(self) -> int:
        return self.photo.shape[1]

    @property
    def text(self) -> str:
        return scores_text(self.scores.psnr, self.scores.ssim, self.scores.lpips) + self.rank

    @property
    def pictures(self) -> list[Image.Image]:
        return [Image.fromarray(part) for part in (self.photo, self.picture, error_colours(self.error / 255))]


def error_colours(error: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours uint8 [..., 3] of values [...] in 0..1, black to light yellow; greater ones are as 1."""
    steps = np.linspace(0, 1, len(_ERROR_COLOURS))
    table = np.asarray(_ERROR_COLOURS, np.float64) / 255
    return to_bytes(np.stack([np.interp(error, steps, table[:, channel]) for channel in range(3)], -1))


def _fit(image: Image.Image) -> Image.Image:
    """Fits a picture into EDGE x EDGE: small ones grow by a whole number, so that their pixels stay what they were."""
    longest = max(image.size)
    if longest <= EDGE:
        factor = EDGE // longest
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    width, height = (max(1, round(edge * EDGE / longest)) for edge in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def _compose(title: str, summary: str, rows: Sequence[_Row]) -> Image.Image:
    """The sheet: two views beside each other where there are more than three, as screens are wide."""
    abreast = 2 if len(rows) > 3 else 1
    column = max(_LEAST_COLUMN, *(row.width for row in rows))
    block = 3 * column + 2 * GAP
    lines = [rows[i : i + abreast] for i in range(0, len(rows), abreast)]
    heights = [max(row.height for row in line) for line in lines]
    width = 2 * MARGIN + abreast * block + (abreast - 1) * MARGIN
    sheet = Image.new("RGB", (width, HEADER + sum(CAPTION + height + GAP for height in heights) + MARGIN - GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    large, normal = _font(_TITLE_SIZE), _font(_TEXT_SIZE)
    draw.text((MARGIN, 18), _shortened(draw, title, large, width - 2 * MARGIN), _INK, large)
    draw.text((MARGIN, 51), _shortened(draw, summary, normal, width - 2 * MARGIN), _FAINT, normal)
    for left in (MARGIN + i * (block + MARGIN) for i in range(abreast)):
        for i, heading in enumerate(_COLUMNS):
            draw.text((left + i * (column + GAP), 86), heading, _INK, normal)
        _draw_scale(sheet, draw, left + block, 90, normal)
    top = HEADER
    for line, height in zip(lines, heights, strict=True):
        for i, row in enumerate(line):
            _draw_row(sheet, draw, row, (MARGIN + i * (block + MARGIN), top), column, normal)
        top += CAPTION + height + GAP
    return sheet


def _draw_row(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, row: _Row, corner: tuple[int, int], column: int, font: _Font
) -> None:
    left, top = corner
    right = left + 3 * column + 2 * GAP
    name = _shortened(draw, row.scores.name, font, right - left - draw.textlength(row.text, font) - GAP)
    draw.text((left, top + 7), name, _INK, font)
    draw.text((right - draw.textlength(row.text, font), top + 7), row.text, _FAINT, font)
    for i, picture in enumerate(row.pictures):
        sheet.paste(picture, (left + i * (column + GAP), top + CAPTION))


def _draw_scale(sheet: Image.Image, draw: ImageDraw.ImageDraw, right: int, top: int, font: _Font) -> None:
    """The error's colours, from none to what is shown brightest, left of `right`."""
    length, thickness = 70, 10
    greatest = f"{1 / ERROR_GAIN:g}"
    right -= round(draw.textlength(greatest, font))
    ramp = error_colours(np.broadcast_to(np.linspace(0.0, 1.0, length), (thickness, length)))
    sheet.paste(Image.fromarray(ramp), (right - 6 - length, top))
    draw.text((right, top - 4), greatest, _FAINT, font)
    draw.text((right - 12 - length - draw.textlength("0", font), top - 4), "0", _FAINT, font)


def _font(size: int) -> _Font:
    """DejaVu Sans, which matplotlib brings, since names of views come in many scripts; Pillow's own knows ASCII."""
    try:
        import matplotlib

        return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)
    except (ImportError, OSError):
        return ImageFont.load_default(size)


def _shortened(draw: ImageDraw.ImageDraw, text: str, font: _Font, width: float) -> str:
    """The text, with its beginning cut off where it is too long: a file's name is told by its end."""
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength("..." + text, font) > width:
        text = text[1:]
    return "..." + text
