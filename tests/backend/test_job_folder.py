"""The job folder's contract from the trainer's side."""

import itertools
import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plenoxels.config import PlenoxelConfig
from plenoxels.errors import FolderInUse, NotWritable, PlenoxelError, ResumeInvalid
from plenoxels.jobs.folder import JobFolder
from plenoxels.jobs.memory import memory_mb
from plenoxels.jobs.observer import JobObserver
from plenoxels.jobs.request import JobRequest, TrainingOptions
from plenoxels.jobs.status import ERROR_CODES, JobError, JobStage, JobState, JobStatus
from plenoxels.training.progress import TrainingProgress, TrainingSnapshot
from stored_fields import make_grid

CONTRACT_STATUS = {
    "format_version", "state", "stage", "message", "pid", "updated", "progress", "iteration", "seconds", "eta_seconds",
    "rays_per_second", "loss", "psnr", "resolution", "voxels", "memory_mb", "peak_memory_mb", "device", "preview",
    "checkpoint", "field", "levels", "error",
}  # fmt: skip


class Recorder:
    """A console that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def show(self, status: JobStatus) -> None:
        return

    def note(self, line: str) -> None:
        self.notes.append(line)


def request(tmp_path: Path, **options) -> JobRequest:
    return JobRequest(tmp_path / "dätaset", TrainingOptions(**options))


def raw_status(folder: Path) -> dict:
    return json.loads((folder / "status.json").read_text(encoding="utf-8"))


def test_a_claimed_folder_has_request_and_first_status(tmp_path: Path) -> None:
    job = JobFolder.claim(tmp_path / "a" / "jöb", request(tmp_path, preset="draft", settings={"seed": "3"}))
    values = json.loads((job.path / "request.json").read_text(encoding="utf-8"))
    assert set(values) == {"format_version", "created", "launcher", "dataset", "options"}
    assert set(values["options"]) == {
        "preset", "max_seconds", "downscale", "device", "threads", "compositing", "levels", "resume", "seed",
        "deterministic", "set",
    }  # fmt: skip
    assert values["options"]["set"] == {"seed": "3"}
    assert job.read_request() == replace(
        request(tmp_path, preset="draft", settings={"seed": "3"}), created=values["created"]
    )
    status = raw_status(job.path)
    assert set(status) == CONTRACT_STATUS
    assert (status["state"], status["pid"], status["error"]) == ("starting", os.getpid(), None)
    assert abs(status["updated"] - time.time()) < 5
    assert sorted(p.name for p in job.path.iterdir()) == ["checkpoints", "request.json", "status.json"]


@pytest.mark.parametrize("earlier", ["status.json", "checkpoints", "field.vdb"])
def test_a_folder_with_earlier_work_is_refused_untouched(tmp_path: Path, earlier: str) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / earlier).mkdir() if earlier == "checkpoints" else (folder / earlier).write_text("old", encoding="utf-8")
    with pytest.raises(FolderInUse, match=f"holds an earlier job .{earlier}"):
        JobFolder.claim(folder, request(tmp_path))
    assert [p.name for p in folder.iterdir()] == [earlier]


def test_a_launchers_request_and_cancel_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    theirs = replace(request(tmp_path), launcher="blender_plenovdb 9").to_json()
    (folder / "request.json").write_text(json.dumps(theirs), encoding="utf-8")
    (folder / "train.log").write_text("", encoding="utf-8")
    (folder / "cancel").touch()
    job = JobFolder.claim(folder, request(tmp_path))
    assert job.read_request().launcher == "blender_plenovdb 9"
    assert job.is_cancel_requested


def test_only_one_of_many_gets_a_folder(tmp_path: Path) -> None:
    won: list[JobFolder] = []
    lost: list[FolderInUse] = []
    gate = threading.Barrier(8)

    def claim() -> None:
        gate.wait()
        try:
            won.append(JobFolder.claim(tmp_path / "job", request(tmp_path)))
        except FolderInUse as error:
            lost.append(error)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)


def test_resuming_in_place(tmp_path: Path) -> None:
    job = JobFolder.claim(tmp_path / "job", request(tmp_path))
    older, newest = job.checkpoints / "checkpoint_000010.vdb", job.checkpoints / "checkpoint_000020.vdb"
    with pytest.raises(ResumeInvalid, match="does not exist"):
        JobFolder.claim(job.path, request(tmp_path, resume=newest))
    older.touch()
    newest.touch()
    job.write_status(JobStatus(state=JobState.FINISHED, stage=JobStage.DONE, pid=1, updated=time.time()))
    with pytest.raises(FolderInUse, match=r"checkpoint_000020\.vdb is newer than checkpoint_000010\.vdb"):
        JobFolder.claim(job.path, request(tmp_path, resume=older))
    (job.path / "cancel").touch()
    JobFolder.claim(job.path, request(tmp_path, resume=newest))
    assert not job.is_cancel_requested  # it was meant for the run before
    assert job.read_request().options.resume == newest
    assert older.exists()
    JobFolder.claim(tmp_path / "fresh", request(tmp_path, resume=older))


@pytest.mark.skipif(os.name == "nt", reason="processes are not looked up on Windows")
def test_a_running_trainer_keeps_its_folder(tmp_path: Path) -> None:
    job = JobFolder.claim(tmp_path / "job", request(tmp_path))
    newest = job.checkpoints / "checkpoint_000020.vdb"
    newest.touch()
    job.write_status(JobStatus(state=JobState.RUNNING, pid=os.getppid(), updated=time.time()))
    with pytest.raises(FolderInUse, match="is at work in"):
        JobFolder.claim(job.path, request(tmp_path, resume=newest))


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match="is a file"):
        JobFolder.claim(tmp_path / "file", request(tmp_path))
    with pytest.raises(NotWritable):
        JobFolder.claim(tmp_path / "file" / "below", request(tmp_path))


def test_status_round_trip_and_numbers_that_json_cannot_say() -> None:
    status = JobStatus(
        JobState.FAILED, JobStage.TRAINING, "ä", 7, 1.5, 0.25, 30, 4.5, 3.0, 1e6, 0.01, 30.5, (4, 5, 6), 99, 10.0, 20.0,
        "cpu (2 threads)", "preview.png", "checkpoints/c.vdb", "field.vdb", ("field.vdb",),
        JobError("internal", "a", "b"),
    )  # fmt: skip
    assert JobStatus.from_json(json.loads(json.dumps(status.to_json()))) == status
    values = replace(status, loss=float("nan"), psnr=float("inf")).to_json()
    assert (values["loss"], values["psnr"]) == (None, None)


def test_every_error_has_a_code_of_the_contract() -> None:
    kinds = PlenoxelError.__subclasses__()
    assert len(kinds) >= 9
    for kind in kinds:
        assert JobError.of(kind("What happened.", "What to do.")).code in ERROR_CODES


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"dataset": 5},
        {"options": {"preset": "best"}},
        {"options": {"levels": 99}},
        {"options": {"seed": -1}},
        {"options": {"deterministic": 1}},
        {"options": 3},
    ],
)
def test_a_request_is_checked(tmp_path: Path, change: dict) -> None:
    with pytest.raises(ValueError, match="'"):
        JobRequest.from_json({**request(tmp_path).to_json(), **change})


def test_status_is_fresh_while_the_trainer_is_busy_and_never_written_too_often(tmp_path: Path) -> None:
    job = JobFolder.claim(tmp_path / "job", request(tmp_path))
    writes: list[float] = []
    write = job.write_status
    job.write_status = lambda status: (writes.append(time.monotonic()), write(status))  # type: ignore[method-assign]
    with JobObserver(job, Recorder(), "data", PlenoxelConfig()) as observer:
        observer.update(state=JobState.RUNNING)
        until = time.monotonic() + 1.6
        while time.monotonic() < until:
            progress = TrainingProgress("training", "x", 5, 1.0, 0.5, 1.0, 1e6, 0.1, 20.0, (8, 8, 8), 99)
            observer.report(progress)
            time.sleep(0.01)
        busy = len(writes)
        assert raw_status(job.path)["iteration"] == 5
        time.sleep(3.2)  # silence: the heartbeat alone
        assert time.time() - raw_status(job.path)["updated"] < 2.1
    gaps = [later - earlier for earlier, later in itertools.pairwise(writes)]
    assert 3 <= busy <= 5
    assert 1 <= len(writes) - busy <= 3
    assert min(gaps) > 0.45, "at most twice a second"
    assert max(gaps) < 2.1, "at least every two seconds"
    assert 0.02 < raw_status(job.path)["progress"] < 0.98
    assert raw_status(job.path)["memory_mb"] > 20


def test_readers_never_see_half_a_status(tmp_path: Path) -> None:
    job = JobFolder.claim(tmp_path / "job", request(tmp_path))
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            job.write_status(JobStatus(message="x" * (number % 5000), pid=1))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            assert raw_status(job.path)["format_version"] == 1
    finally:
        stop.set()
        writer.join()
    assert not [p for p in job.path.iterdir() if p.name.startswith(".")]


def test_previews_checkpoints_events_and_cancel(tmp_path: Path) -> None:
    job = JobFolder.claim(tmp_path / "job", request(tmp_path))
    grid = make_grid(0)
    with JobObserver(job, Recorder(), "data", PlenoxelConfig()) as observer:
        assert not observer.should_stop()
        observer.preview(np.zeros((4, 6, 3), np.uint8))
        for iteration in (10, 20, 30):
            observer.checkpoint(TrainingSnapshot(grid, iteration, 1.0, {"a": np.zeros(3)}))
        (job.path / "cancel").touch()
        assert observer.should_stop()
        observer.finish(state=JobState.CANCELLED)
    status = raw_status(job.path)
    assert status["preview"] == "preview.png"
    assert status["checkpoint"] == "checkpoints/checkpoint_000030.vdb"
    assert sorted(p.name for p in job.checkpoints.glob("*.vdb")) == ["checkpoint_000020.vdb", "checkpoint_000030.vdb"]
    lines = [json.loads(line) for line in (job.path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["checkpoint"] * 3
    assert all(isinstance(line["time"], float) for line in lines)


def test_a_checkpoint_that_finds_no_space_does_not_end_the_training(tmp_path: Path, monkeypatch) -> None:
    from plenoxels.errors import DiskFull

    def full(*_: object) -> Path:
        raise DiskFull("There was no space left.")

    monkeypatch.setattr("plenoxels.jobs.observer.save_checkpoint", full)
    job = JobFolder.claim(tmp_path / "job", request(tmp_path))
    console = Recorder()
    with JobObserver(job, console, "data", PlenoxelConfig()) as observer:
        observer.checkpoint(TrainingSnapshot(make_grid(0), 10, 1.0, {}))
    assert console.notes == ["No checkpoint at iteration 10: There was no space left."]


def test_memory_is_measured() -> None:
    now, peak = memory_mb()
    assert 20 < now <= peak * 1.05
