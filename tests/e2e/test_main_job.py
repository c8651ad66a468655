"""The main job from outside: train, look at the run, generate, merge, compute logits, tokenize."""

import json
import struct
import subprocess

import pytest
import tiny
from conftest import instead, metrics


def token_file(path, ids):
    data = struct.pack(f"<{len(ids)}q", *ids)
    header = json.dumps({"input_ids": {"dtype": "I64", "shape": [1, len(ids)], "data_offsets": [0, len(data)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def logits(lorica, tmp_path, name, *arguments):
    path = tmp_path / f"{name}.safetensors"
    lorica.ok("forward", *arguments, "--input", token_file(tmp_path / "ids.safetensors", [5, 60, 70, 80, 9]), "--output", path,
              "--precision", "fp32")
    file = tiny.Safetensors(path)
    begin, end = file.tensor("logits")["data_offsets"]
    return struct.unpack(f"<{(end - begin) // 4}f", bytes(file.data[begin:end]))


@pytest.mark.parametrize("train_type", ["lora", "qlora"])
def test_a_run_leaves_what_the_readme_promises(lorica, training, output, train_type):
    lorica.ok(*training, "--train_type", train_type, "--save_steps", "3", "--log_to", "stdout,tensorboard")
    assert [record["step"] for record in metrics(output)] == [1, 2, 3, 4, 5, 6]
    assert (output / "config.toml").exists()
    assert list((output / "runs").rglob("events.out.tfevents*"))
    assert {path.name for path in output.glob("checkpoint-*")} == {"checkpoint-3", "checkpoint-6"}
    adapter = json.loads((output / "final" / "adapter_config.json").read_text())
    assert adapter["peft_type"] == "LORA" and adapter["r"] == 4
    assert not [path for path in output.rglob("*") if "tmp" in path.name or path.name.startswith(".")]


@pytest.mark.parametrize("last, tried", [("cup book", False), ("cup book " * 20, True)])
def test_the_heaviest_micro_batch_is_tried_unless_the_first_step_is_as_heavy(lorica, training, output, tmp_path, last, tried):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in ["cup book"] * 7 + [last]))
    result = lorica.ok(*training, "--dataset", rows, "--train_on", "all", "--batch_size", "2", "--gradient_accumulation_steps", "1", "--shuffle", "false", "--max_steps", "2")
    assert ("the heaviest micro-batch (" in result.text) == tried
    assert ("the first step is as heavy as any" in result.text) != tried
    first, second = metrics(output)
    start = first["timing"]["start"]
    assert 0 < start["load_seconds"] < start["ready_seconds"] < start["first_step_seconds"] < 600
    assert start["loaded_peak_bytes"] <= first["timing"]["peak_memory_bytes"] and "start" not in second["timing"]


def test_training_learns(lorica, training, output):
    """On all cores, and started as a user starts it (see the environment of `Lorica`)."""
    del lorica.environment["OMP_WAIT_POLICY"]
    training = instead(training, "--threads", "0")
    lorica.ok(*training, "--train_type", "full", "--max_steps", "120", "--num_epochs", "100", "--lr", "3e-3")
    losses = [record["loss"] for record in metrics(output)]
    assert sum(losses[-5:]) / 5 < 0.3 * losses[0]


def test_the_saved_config_repeats_the_run(lorica, training, output, tmp_path):
    lorica.ok(*training)
    second = tmp_path / "second"
    lorica.ok("train", output / "config.toml", "--output_dir", second)
    assert [record["loss"] for record in metrics(second)] == [record["loss"] for record in metrics(output)]


def test_merged_weights_give_the_adapters_logits(lorica, training, model, output, tmp_path):
    lorica.ok(*training, "--lr", "1e-2")
    merged = tmp_path / "merged"
    result = lorica.ok("merge", "--model_name", model, "--adapter", output / "final", "--output", merged, "--dtype", "float32")
    assert "difference" in result.text
    base = logits(lorica, tmp_path, "base", "--model_name", model)
    live = logits(lorica, tmp_path, "live", "--model_name", model, "--adapter", output / "final")
    whole = logits(lorica, tmp_path, "whole", "--model_name", merged)
    assert max(abs(a - b) for a, b in zip(live, whole)) < 1e-4
    assert max(abs(a - b) for a, b in zip(live, base)) > 1e-3, "the adapter changes nothing"


def test_full_training_writes_a_model_that_trains_again(lorica, training, output, tmp_path):
    lorica.ok(*training, "--train_type", "full")
    assert (output / "final" / "config.json").exists() and (output / "final" / "tokenizer.json").exists()
    lorica.ok(*training, "--model_name", output / "final", "--output_dir", tmp_path / "second")


def test_generation_is_repeatable_and_greedy_at_temperature_0(lorica, model):
    arguments = ["generate", "--model_name", model, "--prompt", "Write the last word.", "--max_new_tokens", "8"]
    assert lorica.ok(*arguments, "--temperature", "0").out == lorica.ok(*arguments, "--temperature", "0", "--seed", "9").out
    assert lorica.ok(*arguments, "--temperature", "1", "--seed", "3").out == lorica.ok(
        *arguments, "--temperature", "1", "--seed", "3").out


def test_tokenize_writes_one_json_list_a_line(lorica, model, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("lamp rope\n\nWrite the last word.\n")
    lorica.ok("tokenize", "--model_name", model, "--input", text, "--output", tmp_path / "ids.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "ids.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and lines[0] and not lines[1]


def test_help_and_version(lorica):
    assert "lora_rank" in lorica.ok("train", "--help").out
    assert lorica.ok("--version").out.startswith("lorica")


def test_packing_gives_the_same_losses(lorica, training, output, tmp_path):
    """No example sees another, so a step's loss doesn't depend on how its examples are packed."""
    single = [*training, "--batch_size", "1", "--gradient_accumulation_steps", "4"]
    lorica.ok(*single)
    other = tmp_path / "other"
    lorica.ok(*training, "--output_dir", other)
    for a, b in zip(metrics(output), metrics(other), strict=True):
        assert abs(a["loss"] - b["loss"]) < 2e-5 * max(1, a["loss"])


def test_the_installed_program_runs_as_it_is(lorica, tmp_path):
    """`make install` leaves a program that finds LibTorch and Arrow by itself."""
    subprocess.run(["cmake", "--install", lorica.binary.parent, "--prefix", tmp_path / "prefix"], check=True, capture_output=True)
    shown = subprocess.run([tmp_path / "prefix" / "bin" / "lorica", "--version"], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert shown.returncode == 0 and shown.stdout.startswith("lorica"), shown.stderr
