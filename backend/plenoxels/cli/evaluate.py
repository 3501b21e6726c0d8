"""`evaluate`: a field file against the photos of a dataset."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from plenoxels.datasets import open_dataset
from plenoxels.evaluation.contact_sheet import ContactSheet
from plenoxels.evaluation.evaluate import EvaluationResult, evaluate_views
from plenoxels.evaluation.lpips import Lpips
from plenoxels.files import make_folder, write_json
from plenoxels.neuralvdb import read_field
from plenoxels.render.renderer import FieldRenderer


def run(arguments: argparse.Namespace) -> int:
    grid, metadata = read_field(arguments.file)
    dataset = open_dataset(arguments.dataset, arguments.downscale, metadata.compositing)
    views = dataset.split(arguments.split)
    renderer = FieldRenderer(grid, metadata.config, arguments.device, arguments.threads)
    if arguments.output:
        make_folder(arguments.output)  # a folder that cannot be written is told before minutes of work

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {total}" + ("\n" if done == total else ""), end="", file=sys.stderr, flush=True)

    sheet = ContactSheet(len(views))
    result = evaluate_views(renderer, dataset, views, show, Lpips.find(arguments.device), sheet.add)
    values = {"field": str(arguments.file), "split": arguments.split, **result.to_json()}
    if arguments.output:
        write_json(arguments.output / "evaluation.json", values)
        sheet.write(arguments.output / "evaluation.png", dataset.name, result)
    if arguments.json:
        print(json.dumps(values))
        return 0
    print("\n".join(_table(result)))
    print(f"{len(views)} views, {metadata.compositing} compositing")
    if result.lpips_missing:
        print(result.lpips_missing)
    if arguments.output:
        print(f"Written: {arguments.output / 'evaluation.json'}, {arguments.output / 'evaluation.png'}")
    return 0


def _table(result: EvaluationResult) -> Iterator[str]:
    rows = [(view.name, view.psnr, view.ssim, view.lpips) for view in result.views]
    rows.append(("mean", result.psnr, result.ssim, result.lpips))
    width = max(len(name) for name, *_ in rows)
    yield f"{'':{width}}  {'PSNR':>9}  {'SSIM':>6}  {'LPIPS':>6}"
    for name, psnr, *others in rows:
        cells = (f"{'-' if value is None else f'{value:.4f}':>6}" for value in others)
        yield "  ".join((f"{name:{width}}", f"{psnr:6.2f} dB", *cells))
