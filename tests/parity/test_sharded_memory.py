"""What a process of several holds: by the engine's accounting a quarter of what four share and two blocks, and by the kernel's count of its pages
(VmHWM, read from outside) nothing else of size."""
import json
import os
import sys

import pytest

from models import REPOSITORY, build_folder, make_config, make_tokenizer, sample_text

sys.path.insert(0, str(REPOSITORY / "bench" / "versus"))
from processes import run_watched  # noqa: E402
from runner import TIMEOUT  # noqa: E402

PROCESSES, LAYERS, VOCABULARY, HIDDEN, INNER, RANK = 4, 14, 4096, 768, 2048, 8
LINEARS = [(HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (INNER, HIDDEN), (INNER, HIDDEN), (HIDDEN, INNER)]  # [out, in] of a layer


def make_folder(folder, layers, vocabulary, hidden, inner):
    """No weights: each process draws its own (--load_format dummy)."""
    make_tokenizer(folder)
    config = make_config("llama", layers=layers, vocabulary=vocabulary, hidden_size=hidden, intermediate_size=inner, num_attention_heads=hidden // 64,
                         num_key_value_heads=hidden // 64)
    (folder / "config.json").write_text(json.dumps({**config.to_dict(), "architectures": ["LlamaForCausalLM"]}))
    return folder


def train(tmp_path, name, model, train_type, *more):
    """What the processes say they held, and the peak of each as the kernel saw it."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": line}) + "\n" for line in sample_text(40, seed=9)), encoding="utf-8")
    result = run_watched([build_folder() / "lorica", "train", "--model_name", model, "--load_format", "dummy", "--dataset", rows, "--output_dir", tmp_path / name, "--train_type",
                          train_type, "--precision", "fp32", "--backend", "cpu", "--threads", 1, "--max_steps", 2, "--context_length", 32, "--train_on", "all", "--save_model",
                          "false", "--log_to", "none", "--preview", "false", "--lora_rank", RANK, "--logits_chunk_mb", 1, "--world_size", PROCESSES, *more],
                         {**os.environ, "HF_HUB_OFFLINE": "1"}, timeout=TIMEOUT)
    return json.loads((tmp_path / name / "processes.json").read_text()), result.peaks(PROCESSES)


def stored_bytes(train_type):
    """Of the embedding, a layer (its adapter included), the head."""
    elements = sum(out * width for out, width in LINEARS)
    codes = elements // 64
    linears = elements // 2 + codes + 4 * -(-codes // 256) + 1024 * len(LINEARS) if train_type == "qlora" else 4 * elements
    pairs = 0 if train_type == "full" else sum(4 * RANK * (out + width) for out, width in LINEARS)
    table = 4 * VOCABULARY * HIDDEN
    return [table, *[linears + pairs + 2 * 4 * HIDDEN] * LAYERS, table + 4 * HIDDEN]


def trained_bytes(train_type):
    return sum(stored_bytes("full")) if train_type == "full" else LAYERS * sum(4 * RANK * (out + width) for out, width in LINEARS)


@pytest.mark.parametrize("train_type", ["lora", "qlora", "full"])
def test_a_process_holds_its_quarter_and_two_blocks(tmp_path, train_type):
    blocks, trained = stored_bytes(train_type), trained_bytes(train_type)
    big = make_folder(tmp_path / "big", LAYERS, VOCABULARY, HIDDEN, INNER)
    report, peaks = train(tmp_path, "out", big, train_type, "--sharding_strategy", "full_shard")
    assert sum(blocks) > 100e6 * (0.5 if train_type == "qlora" else 3) * 0.9, "too small to tell"
    for each in report:
        held = each["weight_bytes"] + each["trained_bytes"]
        assert held <= 1.01 * sum(blocks) / PROCESSES
        assert held + each["gathered_peak_bytes"] <= 1.01 * (sum(blocks) / PROCESSES + 2 * max(blocks))
        assert each["optimizer_bytes"] <= 1.01 * 2 * trained / PROCESSES + 4096

    # The kernel's view: what a process with next to no model takes, its quarter, two blocks, its quarter of gradients and of Adam's two moments. A block's
    # whole gradients and the buffer that they are cut into live for a moment in full fine-tuning.
    tiny = make_folder(tmp_path / "tiny", 2, 320, 64, 128)
    _, nothing = train(tmp_path, "nothing", tiny, train_type, "--sharding_strategy", "full_shard")
    moment = 2 * max(blocks) if train_type == "full" else 0
    accounted = max(nothing) + (sum(blocks) + 3 * trained) / PROCESSES + 2 * max(blocks) + moment
    print(f"{train_type}: accounted {accounted / 1e6:.0f} MB, peaks {[round(peak / 1e6) for peak in peaks]} MB, of nothing {[round(peak / 1e6) for peak in nothing]} MB")
    assert max(peaks) <= 1.1 * accounted
    assert max(peaks) >= 0.9 * accounted, "the accounting counts what isn't there"
