"""The command line's grammar."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from plenoxels import __version__

_EXAMPLES = """\
examples:
  python -m plenoxels train photos/chair --output chair_job            train for a minute, then see chair_job/field.vdb
  python -m plenoxels train photos/chair --output quick --preset draft --downscale 2
  python -m plenoxels evaluate chair_job/field.vdb photos/chair        held-out quality, view by view
  python -m plenoxels render chair_job/field.vdb --cameras chair_job/cameras.json --split test --output pictures
  python -m plenoxels doctor                                           what this machine can do, and what is missing
"""
_TRAIN_NOTES = """\
The job folder gets field.vdb with its levels of detail, checkpoints/, cameras.json, evaluation.json with the contact
sheet evaluation.png, history.jsonl with curves.png, preview.png and status.json. Ctrl-C, or a file named `cancel` in
it, ends the training cleanly: what was learned so far is kept.
A folder that holds an earlier job is never overwritten.

examples:
  python -m plenoxels train photos/chair --output chair_job
  python -m plenoxels train photos/chair --output long --preset high --max-seconds 600
  python -m plenoxels train photos/chair --output small --set max_resolution=128 --set sh_degree=1
  python -m plenoxels train photos/chair --output same --deterministic --seed 7 --set max_iterations=2000
  python -m plenoxels train photos/chair --output chair_job --resume chair_job/checkpoints/checkpoint_004200.vdb \\
      --max-seconds 120
"""
_EVALUATE_NOTES = """\
PSNR in dB; SSIM of Wang et al. 2004 (Gaussian window of 11 x 11 pixels, sigma 1.5); LPIPS with AlexNet where
torchmetrics, torchvision and the weights in torch hub's cache are on this machine: nothing is downloaded for it.
"""
_SETTING = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the chosen one's function is `arguments.run`."""
    parser = argparse.ArgumentParser(
        prog="plenoxels",
        description="Trains radiance volumes from posed photos and stores them as OpenVDB files that Blender renders.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"plenoxels {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_evaluate(commands)
    _add_render(commands)
    _add_info(commands)
    _add_doctor(commands)
    _add_bench(commands)
    return parser


def _add_train(commands: Any) -> None:
    parser = _command(commands, "train", "train a field from posed photos", _TRAIN_NOTES)
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder with transforms_train.json and photos")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the job folder; made where needed")
    parser.add_argument(
        "--preset",
        choices=("draft", "standard", "high"),
        default="standard",
        help="draft: a quick look; standard: a minute; high: several minutes (default: standard)",
    )
    parser.add_argument("--max-seconds", type=_seconds, metavar="S", help="seconds of training (default: the preset's)")
    _add_downscale(parser)
    _add_device(parser)
    parser.add_argument(
        "--compositing",
        choices=("linear", "encoded"),
        default="linear",
        help="linear: as Blender composites light; encoded: as Plenoxels was published (default: linear)",
    )
    parser.add_argument(
        "--levels",
        type=_whole(0, 8),
        default=2,
        metavar="N",
        help="levels of detail coarser than the field (default: 2)",
    )
    parser.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="change one setting of the recipe or the model; see --list-settings; may be given several times",
    )
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on from this checkpoint (or any field.vdb)")
    parser.add_argument(
        "--seed",
        type=_whole(0, 2**31 - 1),
        metavar="N",
        help="seed of everything drawn at random (default: 0)",
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="the same bits each time on the same machine and --threads; CPU only; needs --set max_iterations=N",
    )
    parser.add_argument("--list-settings", action=_ListSettings, help="list all settings with their defaults and exit")


def _add_evaluate(commands: Any) -> None:
    parser = _command(commands, "evaluate", "measure a field against photos (PSNR, SSIM, LPIPS)", _EVALUATE_NOTES)
    _add_file(parser)
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="the folder that the photos are in")
    parser.add_argument(
        "--split",
        choices=("train", "val", "test"),
        default="test",
        help="which photos (default: test, the held-out ones)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for evaluation.json and the contact sheet evaluation.png"
    )
    _add_downscale(parser)
    _add_device(parser)
    _add_json(parser)


def _add_render(commands: Any) -> None:
    parser = _command(commands, "render", "render pictures of a field")
    _add_file(parser)
    parser.add_argument(
        "--cameras", type=Path, required=True, metavar="JSON", help="transforms.json, or a job's cameras.json"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the PNG files")
    parser.add_argument("--split", help="render only the frames of this split")
    _add_device(parser)


def _add_info(commands: Any) -> None:
    parser = _command(commands, "info", "what is in a field file")
    _add_file(parser)
    _add_json(parser)


def _add_doctor(commands: Any) -> None:
    parser = _command(commands, "doctor", "check this machine: Python, torch, warp, GPU, OpenVDB, disk")
    _add_json(parser)


def _add_bench(commands: Any) -> None:
    parser = _command(commands, "bench", "measure the kernels on a made-up scene that anyone can repeat")
    parser.add_argument(
        "--resolution", type=_whole(16, 1024), default=256, metavar="N", help="voxels along each axis (default: 256)"
    )
    parser.add_argument("--seconds", type=_seconds, default=5.0, metavar="S", help="seconds per figure (default: 5)")
    _add_device(parser)
    _add_json(parser)


def _command(commands: Any, name: str, summary: str, notes: str = "") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=notes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def run(arguments: argparse.Namespace) -> int:
        result: int = import_module(f"plenoxels.cli.{name}").run(arguments)
        return result

    parser.set_defaults(run=run, command_parser=parser)
    return parser


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a field.vdb, a level of detail or a checkpoint")


def _add_downscale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--downscale", type=_whole(1, 64), default=1, metavar="N", help="use photos at 1/N of their size (default: 1)"
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        type=_device,
        default="auto",
        help="auto, cpu, cuda or cuda:N (default: auto, CUDA where there is one)",
    )
    parser.add_argument("--threads", type=_whole(1, 1024), metavar="N", help="CPU threads (default: all)")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return value

    return parse


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e7:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of auto, cpu, cuda, cuda:N")
    return text


def _setting(text: str) -> tuple[str, str]:
    match = _SETTING.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return match[1], match[2]


class _ListSettings(argparse.Action):
    """Prints the settings of recipe and model, as --help prints the options."""

    def __init__(self, option_strings: list[str], dest: str, **keywords: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=keywords.get("help"))

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from plenoxels.cli.train import settings_text

        print(settings_text())
        parser.exit()
