"""Output that can't be written, a disk that fills, memory that doesn't suffice, a loss that turns NaN."""

import hashlib
import json
import os
import subprocess

import pytest
from conftest import metrics, refused


@pytest.fixture
def mount(tmp_path):
    """mount(name, options): a tmpfs of its own below the test's folder, unmounted afterwards."""
    mounted = []

    def make(name, options):
        folder = tmp_path / name
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"mounting a tmpfs is not permitted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder, leave):
    """Takes all space of the folder's file system but `leave` bytes."""
    free = os.statvfs(folder)
    size = free.f_bavail * free.f_frsize - leave
    (folder / "filler").write_bytes(b"\0" * size)


def contents(folder):
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}


def test_disk_without_room_is_refused_before_training(lorica, training, mount):
    """The disk is checked first."""
    disk = mount("disk", "size=2m")
    fill(disk, leave=8192)
    result = lorica(*training, "--output_dir", disk / "out", "--save_steps", "2")
    refused(result, str(disk), "space")
    assert not (disk / "out" / "final").exists()
    assert not list(disk.glob("out/checkpoint-*"))


def test_disk_that_fills_during_the_run_loses_nothing(lorica, training, mount):
    disk = mount("disk", "size=64m")
    out = disk / "out"
    steps = ["--max_steps", "400", "--num_epochs", "100", "--save_steps", "3"]
    result = lorica(*training, "--output_dir", out, *steps, "--save_total_limit", "0", "--lora_rank", "64")
    refused(result, str(disk), "space")
    kept = sorted(out.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    assert kept and not (out / "final").exists()
    for path in kept[:-2]:
        for file in sorted(path.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        path.rmdir()
    lorica.ok(*training, "--output_dir", out, *steps, "--save_total_limit", "2", "--lora_rank", "64", "--resume")
    assert metrics(out)[-1]["step"] == 400


def test_read_only_output(lorica, training, mount):
    disk = mount("disk", "size=1m")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    refused(lorica(*training, "--output_dir", disk / "out"), str(disk / "out"))


def test_output_below_a_file(lorica, training, tmp_path):
    (tmp_path / "file").write_text("kept")
    refused(lorica(*training, "--output_dir", tmp_path / "file" / "out"), str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "kept"


def test_output_that_holds_another_run_stays_untouched(lorica, training, output):
    lorica.ok(*training)
    before = contents(output)
    refused(lorica(*training, "--seed", "7"), str(output), "overwrite_output_dir", "resume")
    assert contents(output) == before


def test_output_that_holds_something_else_stays_untouched(lorica, training, output):
    output.mkdir()
    (output / "thesis.tex").write_text("years of work")
    lorica(*training, "--overwrite_output_dir")
    assert (output / "thesis.tex").read_text() == "years of work"


def test_not_enough_memory_says_what_would_fit(lorica, training, model, output):
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_size": 16384, "intermediate_size": 65536, "num_hidden_layers": 400, "num_attention_heads": 128,
               "num_key_value_heads": 128, "head_dim": 128}
    (model / "config.json").write_text(json.dumps(config))
    (model / "model.safetensors").unlink()
    result = lorica(*training, "--load_format", "dummy")
    refused(result, "memory", "GiB", output=output)
    assert "qlora" in result.err, "it does not say what would need less"


def test_loss_that_turns_nan_stops_the_run(lorica, training, output):
    """Step and batch are named, and the last good checkpoint stays."""
    result = lorica(*training, "--train_type", "full", "--max_steps", "50", "--num_epochs", "10", "--lr", "100",
                    "--optimizer", "sgd", "--save_steps", "1")
    assert result.code in (1, 2), result.text
    message = result.err.lower()
    assert "step" in message and ("nan" in message or "finite" in message), result.err
    assert "terminate called" not in result.err
    assert not (output / "final").exists()
    assert metrics(output), "it stopped before the first step: this test must see a run that goes wrong later"
    assert list(output.glob("checkpoint-*"))
    for record in metrics(output):
        assert record["loss"] == record["loss"], "a NaN loss was recorded as a step"
