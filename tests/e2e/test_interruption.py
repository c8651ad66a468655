"""Runs that are cut short: killed at any moment, asked to stop, and resumed. Nothing is lost and nothing changes.
Optimizer, random state, sampler and schedule all go on where they were."""

import random
import signal
import time

import pytest
from conftest import TIMEOUT, metrics

STEPS = 120
KILLS = 20


@pytest.fixture
def long_training(training):
    return [*training, "--max_steps", str(STEPS), "--save_steps", "7", "--save_total_limit", "2", "--lora_dropout", "0.1",
            "--lr_scheduler", "cosine", "--num_epochs", "100"]


def curve(folder):
    """What must be the same, digit for digit, by step; of a step that was run twice, what the resumed run wrote."""
    return {record["step"]: {key: value for key, value in record.items() if key != "timing"} for record in metrics(folder)}


def last_step(folder):
    try:
        return max(curve(folder), default=0)
    except (OSError, ValueError):
        return 0  # not there yet, or its last line is half written


def checkpoints(folder):
    return sorted(folder.glob("checkpoint-*"))


def stop_at(lorica, arguments, output, step, how):
    """Starts a run and sends the signal once it has logged `step`; returns the ended process."""
    process = lorica.start(*arguments)
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and last_step(output) < step and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(how)
    process.out, process.err = process.communicate(timeout=TIMEOUT)
    return process


def resume(arguments, output):
    return [*arguments, "--resume"] if checkpoints(output) else [*arguments, "--overwrite_output_dir"]


def same_adapter(first, second):
    name = "final/adapter_model.safetensors"
    return (first / name).read_bytes() == (second / name).read_bytes()


def test_killed_twenty_times_equals_an_uninterrupted_run(lorica, long_training, output, tmp_path):
    whole = tmp_path / "whole"
    lorica.ok(*long_training, "--output_dir", whole)
    dice, killed = random.Random(4), 0
    for number in range(KILLS):
        target = (number * STEPS) // KILLS + dice.randrange(STEPS // KILLS)
        process = stop_at(lorica, resume(long_training, output), output, target, signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
        assert process.returncode in (-signal.SIGKILL, 0), process.err
    assert killed >= KILLS * 3 // 4, "most of the runs ended before they could be killed: raise STEPS"
    lorica.ok(*resume(long_training, output))
    assert curve(output) == curve(whole)
    assert sorted(curve(output)) == list(range(1, STEPS + 1))
    assert same_adapter(output, whole)


def test_killed_while_loading_leaves_nothing_that_blocks_the_next_run(lorica, long_training, output):
    for delay in (0.01, 0.05, 0.1, 0.2, 0.4):
        process = lorica.start(*resume(long_training, output))
        time.sleep(delay)
        process.kill()
        process.communicate()
    lorica.ok(*resume(long_training, output))
    assert sorted(curve(output)) == list(range(1, STEPS + 1))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_saves_and_exits_0(lorica, long_training, output, tmp_path, how):
    process = stop_at(lorica, long_training, output, STEPS // 3, how)
    assert process.returncode == 0, process.err
    reached = last_step(output)
    assert reached < STEPS
    assert output / f"checkpoint-{reached}" in checkpoints(output), "the last step is not saved"
    lorica.ok(*long_training, "--resume")
    whole = tmp_path / "whole"
    lorica.ok(*long_training, "--output_dir", whole)
    assert curve(output) == curve(whole)
    assert same_adapter(output, whole)


def test_resuming_falls_back_to_the_last_valid_checkpoint(lorica, long_training, output):
    """A checkpoint that was damaged after it was written is named and passed over, not loaded."""
    stop_at(lorica, long_training, output, STEPS // 2, signal.SIGTERM)
    newest = max(checkpoints(output), key=lambda path: int(path.name.partition("-")[2]))
    damaged = max((path for path in newest.rglob("*.safetensors")), key=lambda path: path.stat().st_size)
    damaged.write_bytes(damaged.read_bytes()[:-64])
    result = lorica.ok(*long_training, "--resume")
    assert newest.name in result.text
    assert sorted(curve(output)) == list(range(1, STEPS + 1))


def test_fifty_and_fifty_steps_equal_a_hundred(lorica, training, output, tmp_path):
    """The schedule is the whole run's in both, because num_epochs decides its length."""
    whole = tmp_path / "whole"
    common = [*training, "--num_epochs", "10", "--lr_scheduler", "linear", "--max_steps"]
    lorica.ok(*common, "100", "--output_dir", whole)
    process = stop_at(lorica, [*common, "100"], output, 50, signal.SIGINT)
    assert process.returncode == 0, process.err
    lorica.ok(*common, "100", "--resume")
    assert curve(output) == curve(whole)
