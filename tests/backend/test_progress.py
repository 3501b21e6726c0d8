"""What a terminal shows of a job."""

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from plenoxels.cli.progress import PlainConsole, RichConsole, duration, facts
from plenoxels.jobs.status import JobStage, JobState, JobStatus
from rich.console import Console
from rich.progress import Progress, TextColumn

TRAINING = JobStatus(
    state=JobState.RUNNING, stage=JobStage.TRAINING, progress=0.5, iteration=1234, eta_seconds=95.0,
    rays_per_second=1.5e6, psnr=30.123, resolution=(8, 9, 10), voxels=4321,
)  # fmt: skip


def test_a_line_says_what_is_known() -> None:
    assert facts(TRAINING) == "step 1,234, 8x9x10, 4,321 voxels, 1.50 M rays/s, PSNR 30.12 dB, 95 s left"
    unknown = replace(TRAINING, psnr=None, rays_per_second=None, eta_seconds=None)
    assert facts(unknown) == "step 1,234, 8x9x10, 4,321 voxels"
    assert facts(JobStatus(message="Loading [photos]")) == "Loading [photos]"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (125, "2 min 05 s"), (7322, "2 h 02 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plain_lines_are_few(capsys) -> None:
    console = PlainConsole()
    for iteration in range(1000):
        console.show(replace(TRAINING, iteration=iteration))
    console.show(replace(TRAINING, stage=JobStage.EXPORTING, message="Writing the field", progress=0.92))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(" 50 %  training: step 0,")
    assert lines[1] == " 92 %  exporting: Writing the field"


def test_the_live_line_takes_any_text() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120)
    with Progress(TextColumn("{task.fields[facts]}", markup=False), console=console) as progress:
        rich = RichConsole(progress)
        rich.show(JobStatus(message="[/nonsense] größe"))
        rich.note("[bold a note")
    assert "[/nonsense] größe" in stream.getvalue()
    assert "[bold a note" in stream.getvalue()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_it_is_one_live_line(tmp_path: Path) -> None:
    """A failing training: the display is taken away before the sentence comes."""
    import pty

    code = "import sys; from plenoxels.__main__ import main; sys.exit(main(sys.argv[1:]))"
    backend = Path(__file__).parents[2] / "backend"
    values = {**os.environ, "PYTHONPATH": str(backend), "TERM": "xterm-256color"}
    terminal, child_side = pty.openpty()
    command = [sys.executable, "-c", code, "train", str(tmp_path / "none"), "--output", str(tmp_path / "job")]
    process = subprocess.run(command, stdout=child_side, stderr=subprocess.PIPE, env=values, check=False)
    os.close(child_side)
    shown = os.read(terminal, 65536).decode("utf-8", "replace")
    os.close(terminal)
    assert process.returncode == 1
    assert "\x1b[2K" in shown  # the live line was there and was wiped
    assert b"does not exist" in process.stderr
