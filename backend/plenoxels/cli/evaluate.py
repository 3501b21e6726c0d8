"""`evaluate`: a field file against the photos of a dataset."""

from __future__ import annotations

import argparse
import json
import sys

from plenoxels.datasets import open_dataset
from plenoxels.evaluation.evaluate import evaluate_views
from plenoxels.neuralvdb import read_field
from plenoxels.render.renderer import FieldRenderer


def run(arguments: argparse.Namespace) -> int:
    grid, metadata = read_field(arguments.file)
    dataset = open_dataset(arguments.dataset, arguments.downscale, metadata.compositing)
    views = dataset.split(arguments.split)
    renderer = FieldRenderer(grid, metadata.config, arguments.device, arguments.threads)

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {total}" + ("\n" if done == total else ""), end="", file=sys.stderr, flush=True)

    result = evaluate_views(renderer, dataset, views, show)
    if arguments.json:
        print(json.dumps({"field": str(arguments.file), "split": arguments.split, **result.to_json()}))
        return 0
    width = max(len(name) for name, _ in result.views)
    for name, psnr in result.views:
        print(f"{name:{width}}  {psnr:6.2f} dB")
    print(f"{'mean':{width}}  {result.psnr:6.2f} dB  ({len(result.views)} views, {metadata.compositing} compositing)")
    return 0
