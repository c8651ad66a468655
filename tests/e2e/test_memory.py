"""Memory: what a run needs to its very end is what the plan says, and what can't fit is said before anything is read."""

import json
import re

from conftest import instead, refused

VOCABULARY, TOKENS = 49152, 640


def enlarge(model):
    """A vocabulary whose logits, of all tokens, would be 126 MB: more than all the rest."""
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "vocab_size": VOCABULARY, "max_position_embeddings": 1024}))


def test_saving_and_checking_are_in_the_plan(lorica, training, model, rows, output):
    enlarge(model)
    rows.write_text(json.dumps({"text": "lamp rope cup book " * TOKENS}) + "\n")
    arguments = [*training, "--load_format", "dummy", "--context_length", TOKENS, "--batch_size", 1, "--max_steps", 2, "--recompute", "recompute"]
    text = lorica.ok(*arguments).text
    assert (output / "final" / "adapter_model.safetensors").exists()
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    peak = next(record for record in records if record["kind"] == "end")["timing"]["peak_memory_bytes"]
    planned = json.loads(lorica.ok("plan", *arguments[1:], "--tokens", TOKENS, "--tflops", 1, "--json").out)["peak_bytes"]
    assert peak < 1.1 * planned, f"planned {planned >> 20} MiB, needed {peak >> 20} MiB"
    last_step = [record for record in records if record["kind"] == "train"][-1]["timing"]["peak_memory_bytes"]
    # Three times the logits of a probe (8 MiB each), and what reading the files takes.
    assert last_step <= peak < last_step + (40 << 20)
    said = re.search(r"peak memory of the run to its end: ([\d.]+) MiB", text)
    assert said and abs(float(said[1]) - peak / (1 << 20)) < 1


def test_what_does_not_fit_is_an_exit_code(lorica, training):
    arguments = ["plan", *training[1:], "--backend", "cpu", "--tflops", "1"]
    lorica.ok(*arguments)
    result = lorica(*arguments, "--host_memory", "1MB")
    assert result.code == 2, result.text
    assert "It doesn't fit" in result.out and "this machine's memory" in result.out and "each device" not in result.out


def test_a_device_that_is_not_there_is_said_before_the_data_are_read(lorica, training, tmp_path, output):
    missing = tmp_path / "no-such-file.jsonl"
    refused(lorica(*instead(training, "--dataset", missing), "--backend", "mps"), "--backend mps", output=output)
    refused(lorica(*instead(training, "--dataset", missing), "--device_memory_limit", "1GB", "--backend", "cpu"), "device_memory_limit", output=output)
