"""Event files: TensorBoard's own reader loads what Lorica writes, and a resumed run's curves have each step once.

The file comes from the GoogleTest case TensorBoard.WritesARunThatWasResumed of test_train: steps 1 to 6, then resumed
from a checkpoint of step 4 to step 8.
"""
import os
import pathlib
import subprocess

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    build = pathlib.Path(os.environ.get("LORICA_BUILD", ROOT / "build"))
    program = build / "test_train"
    assert program.exists(), f"{program} is not built; set LORICA_BUILD to the build folder"
    folder = tmp_path_factory.mktemp("run") / "runs"
    result = subprocess.run([program, "--gtest_filter=TensorBoard.WritesARunThatWasResumed"],
                            env=dict(os.environ, LORICA_EXCHANGE_OUT=str(folder)), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def accumulator(runs):
    accumulator = EventAccumulator(str(runs))
    accumulator.Reload()
    return accumulator


def curve(accumulator, tag):
    return {event.step: event.value for event in accumulator.Scalars(tag)}


def test_tags(accumulator):
    assert {"train/loss", "train/lr", "train/grad_norm", "train/peak_allocated_gib", "eval/loss", "eval/perplexity"} <= set(
        accumulator.Tags()["scalars"])


def test_resumed_run_has_each_step_once(accumulator):
    steps = [event.step for event in accumulator.Scalars("train/loss")]
    assert steps == list(range(1, 9))
    assert curve(accumulator, "train/loss") == {1: 9, 2: 8, 3: 7, 4: 6, 5: 15, 6: 14, 7: 13, 8: 12}
    assert curve(accumulator, "eval/loss") == {4: 5, 8: 4}


def test_values(accumulator):
    assert curve(accumulator, "train/lr")[3] == pytest.approx(3e-4, rel=1e-6)
    assert sorted(curve(accumulator, "train/grad_norm")) == list(range(2, 9))
    assert accumulator.Scalars("train/loss")[0].wall_time > 1.7e9


def test_every_record_parses_with_the_published_protobuf(runs):
    for path in sorted(runs.iterdir()):
        events = [Event.FromString(record) for record in RawEventFileLoader(str(path)).Load()]
        assert events[0].file_version == "brain.Event:2"
        assert events[1].session_log.status == 1
        assert all(event.summary.value for event in events[2:])
