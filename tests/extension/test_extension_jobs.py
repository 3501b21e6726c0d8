"""Launching, watching, cancelling and losing a trainer, without Blender."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_backend import make_interpreter, write_status

from blender_plenovdb.errors import PlenoError
from blender_plenovdb.jobs import launching, session
from blender_plenovdb.jobs.environment import Environment, find_interpreter
from blender_plenovdb.jobs.request import TrainingOptions, parse_settings
from blender_plenovdb.jobs.status import STALE_SECONDS, JobStatus, judge, read_status
from blender_plenovdb.jobs.watching import Job, find_jobs_in, poll, request_cancel

LIMIT = 20.0


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "Fotos für später"
    folder.mkdir()
    return folder


def environment(tmp_path: Path, mode: str) -> Environment:
    return Environment(make_interpreter(tmp_path / "mein Python", mode), tmp_path / "caches é", Path("/openvdb"))


def start(tmp_path: Path, dataset: Path, mode: str, **options: object) -> Job:
    folder = launching.new_job_folder(tmp_path / "Aufträge hier", dataset)
    return launching.launch(TrainingOptions(dataset, **options), folder, environment(tmp_path, mode))  # type: ignore[arg-type]


def finish(job: Job) -> JobStatus:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        status = poll(job)
        if status.is_over:
            return status
        time.sleep(0.02)
    raise AssertionError("the job did not end in time")


def wait_for_training(job: Job) -> JobStatus:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        status = poll(job)
        if status.stage == "training":
            return status
        time.sleep(0.02)
    raise AssertionError("the training did not begin in time")


def test_success_and_what_the_trainer_was_given(tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/blender")
    monkeypatch.setenv("PYTHONHOME", "/blender")
    monkeypatch.setenv("VIRTUAL_ENV", "/venv")
    job = start(tmp_path, dataset, "success", max_seconds=7.0, levels=2, settings={"sh_degree": "1"})
    assert poll(job).state in ("starting", "running")
    status = finish(job)
    assert (status.state, status.psnr, status.resolution) == ("finished", 27.5, (64, 64, 64))
    seen = json.loads((job.folder / "seen.json").read_text(encoding="utf-8"))
    assert seen["arguments"][:6] == ["-I", "-u", "-X", "utf8", "-m", "plenoxels"]
    assert seen["arguments"][6:10] == ["train", str(dataset), "--output", str(job.folder)]
    assert seen["arguments"][-6:] == ["--max-seconds", "7", "--levels", "2", "--set", "sh_degree=1"]
    assert Path(seen["cwd"]) == job.folder
    given = seen["environment"]
    assert not any(name.startswith("PYTHON") or name == "VIRTUAL_ENV" for name in given)
    assert given["PLENOVDB_OPENVDB"] == str(Path("/openvdb"))
    for name in ("WARP_CACHE_PATH", "XDG_CACHE_HOME", "TORCH_HOME", "MPLCONFIGDIR"):
        assert Path(given[name]).parent == tmp_path / "caches é"
        assert Path(given[name]).is_dir()
    request = json.loads((job.folder / "request.json").read_text(encoding="utf-8"))
    assert request["dataset"] == str(dataset)
    assert request["options"]["set"] == {"sh_degree": "1"}
    assert "fake backend" in (job.folder / "train.log").read_text(encoding="utf-8")


def test_cancel(tmp_path: Path, dataset: Path) -> None:
    job = start(tmp_path, dataset, "slow")
    request_cancel(job, wait_for_training(job))
    assert finish(job).state == "cancelled"


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_killed_trainer_is_noticed_by_its_parent_and_by_others(tmp_path: Path, dataset: Path) -> None:
    job = start(tmp_path, dataset, "slow")
    status = wait_for_training(job)
    found = Job(job.folder)
    assert not poll(found).is_over
    os.kill(status.pid, signal.SIGKILL)
    ended = finish(job)
    assert ended.state == "failed"
    assert ended.error is not None
    assert "stopped without saying why" in ended.error.message
    assert "train.log" in ended.error.fix
    assert poll(found).state == "failed"


def test_forced_cancel_ends_our_own_trainer_only(tmp_path: Path, dataset: Path) -> None:
    job = start(tmp_path, dataset, "slow")
    status = wait_for_training(job)
    with pytest.raises(PlenoError, match="not started by this Blender"):
        request_cancel(Job(job.folder), status, force=True)
    request_cancel(job, status, force=True)
    assert finish(job).is_over


def test_crash(tmp_path: Path, dataset: Path) -> None:
    status = finish(start(tmp_path, dataset, "crashes"))
    assert status.error is not None
    assert status.progress == pytest.approx(0.4)  # what was last known stays


def test_failure_with_the_trainers_own_words(tmp_path: Path, dataset: Path) -> None:
    status = finish(start(tmp_path, dataset, "fails"))
    with pytest.raises(PlenoError, match=r"r_3\.png is damaged\. Replace it\."):
        status.raise_if_failed()


@pytest.mark.parametrize(("mode", "words"), [("missing", "not installed"), ("usage", "unknown option --levels")])
def test_backend_that_cannot_begin(tmp_path: Path, dataset: Path, mode: str, words: str) -> None:
    status = finish(start(tmp_path, dataset, mode))
    assert status.error is not None
    assert words in status.error.message
    assert status.error.fix


def test_trainer_outlives_its_launcher(tmp_path: Path, dataset: Path) -> None:
    folder = tmp_path / "job"
    interpreter = make_interpreter(tmp_path, "slow")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from blender_plenovdb.jobs import launching\n"
        "from blender_plenovdb.jobs.environment import Environment\n"
        "from blender_plenovdb.jobs.request import TrainingOptions\n"
        "launching.launch(TrainingOptions(Path(sys.argv[2])), Path(sys.argv[3]),"
        " Environment(Path(sys.argv[4]), Path(sys.argv[5])))\n"
    )
    root = str(Path(__file__).parents[2])
    arguments = [root, str(dataset), str(folder), str(interpreter), str(tmp_path / "caches")]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, timeout=LIMIT)
    job = Job(folder)
    end = time.monotonic() + LIMIT
    while not (folder / "status.json").exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not wait_for_training(job).is_over
    assert [found.folder for found in find_jobs_in(tmp_path)] == [folder]
    request_cancel(job, poll(job))
    assert finish(job).state == "cancelled"


def test_earlier_work_is_never_trained_over(tmp_path: Path, dataset: Path) -> None:
    folder = tmp_path / "job"
    (folder / "checkpoints").mkdir(parents=True)
    with pytest.raises(PlenoError, match="never overwritten"):
        launching.launch(TrainingOptions(dataset), folder, environment(tmp_path, "success"))
    checkpoint = folder / "checkpoints" / "checkpoint_000010.vdb"
    checkpoint.touch()
    write_status(folder, state="finished", stage="done", updated=time.time() - 100)
    job = launching.launch(TrainingOptions(dataset, resume=checkpoint), folder, environment(tmp_path, "success"))
    assert not poll(job).is_over, "the status of the run before is not this run's"
    assert finish(job).state == "finished"


def test_options_are_checked(tmp_path: Path, dataset: Path) -> None:
    for options in (
        TrainingOptions(tmp_path / "nothing"),
        TrainingOptions(dataset, preset="best"),
        TrainingOptions(dataset, downscale=0),
        TrainingOptions(dataset, max_seconds=-1.0),
        TrainingOptions(dataset, settings={"--output": "x"}),
        TrainingOptions(dataset, resume=tmp_path / "none.vdb"),
    ):
        with pytest.raises(PlenoError):
            options.check()
    assert parse_settings('a=1 b="two words" c.d=') == {"a": "1", "b": "two words", "c.d": ""}
    for line in ("a", "=1", 'a="', "-x=1"):
        with pytest.raises(PlenoError):
            parse_settings(line)


def test_interpreter(tmp_path: Path) -> None:
    with pytest.raises(PlenoError, match="PLENOVDB_PYTHON"):
        find_interpreter("", {})
    with pytest.raises(PlenoError, match="does not exist"):
        find_interpreter(str(tmp_path / "python"), {})
    with pytest.raises(PlenoError, match="is a folder"):
        find_interpreter("", {"PLENOVDB_PYTHON": str(tmp_path)})
    plain = tmp_path / "text"
    plain.touch(mode=0o644)
    if os.name != "nt":
        with pytest.raises(PlenoError, match="not a program"):
            find_interpreter(str(plain), {})
    assert find_interpreter("", {"PLENOVDB_PYTHON": sys.executable}) == Path(sys.executable)


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"state": "dancing"},
        {"stage": None},
        {"progress": "half"},
        {"pid": -1},
        {"updated": True},
        {"resolution": [1, 2]},
        {"levels": ["../../etc/passwd"]},
        {"field": "/etc/passwd"},
        {"error": "bad"},
        {"message": 3},
        {"psnr": 10**400},
    ],
)
def test_hostile_status(tmp_path: Path, change: dict[str, object]) -> None:
    write_status(tmp_path)
    assert read_status(tmp_path).state == "running"
    write_status(tmp_path, **change)
    with pytest.raises(PlenoError, match=r"status\.json"):
        read_status(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"progress": NaN}', "[" * 100000, "x" * 300000, "\xff"])
def test_garbage_status(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text, encoding="latin-1")
    with pytest.raises(PlenoError):
        read_status(tmp_path)


def test_silence_means_death_unless_the_child_is_ours(tmp_path: Path) -> None:
    write_status(tmp_path, updated=time.time() - STALE_SECONDS - 5)
    status = read_status(tmp_path)
    assert judge(status, is_ours_alive=None).state == "failed"
    assert judge(status, is_ours_alive=True).state == "running"


def test_session_remembers_without_reading(tmp_path: Path) -> None:
    session.forget()
    folder = tmp_path / "job"
    folder.mkdir()
    write_status(folder, state="finished", stage="done")
    assert session.last_seen(folder) is None
    assert session.refresh(folder).is_over
    (folder / "status.json").unlink()
    seen = session.last_seen(folder)
    assert seen is not None
    assert seen.is_over
    assert not session.active()
    with pytest.raises(PlenoError):
        session.refresh(folder)
    assert session.problem(folder) is not None
    session.forget()
    assert session.problem(folder) is None
