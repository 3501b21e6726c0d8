"""`bench`: how fast the kernels are here."""

from __future__ import annotations

import argparse
import json

from plenoxels.benchmark import run_benchmark


def run(arguments: argparse.Namespace) -> int:
    result = run_benchmark(arguments.resolution, arguments.seconds, arguments.threads, arguments.device)
    if arguments.json:
        print(json.dumps(result.to_json()))
    else:
        print("\n".join(result.lines()))
    return 0
