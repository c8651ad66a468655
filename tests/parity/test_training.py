"""Training against PEFT, live: the same start, the same data in the same order, 50 optimizer steps, the loss of each step.

The start (A at random, B zero) is drawn by PEFT and handed to lorica as an adapter. PEFT trains on padded batches of the very
examples; its loss is normalized as ours is, by the supervised tokens of the step.
"""
import json

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoTokenizer

from models import load_model, make_model, random_tokens, sample_text
from runner import largest, lorica, lorica_logits, refused, train_metrics

STEPS, BATCH, ACCUMULATION, LR = 50, 4, 2, 1e-3
ROWS = 96  # 12 whole steps an epoch: the last step of an epoch would be short otherwise
WIDE = {"intermediate_size": 192}  # whole quantization blocks in each row: bitsandbytes' CPU code needs that


def write_rows(path, count=600):
    lines = sample_text(2 * count, seed=5)
    rows = [{"prompt": lines[2 * i], "completion": " " + lines[2 * i + 1][: 10 + 13 * i % 60]} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def encode(rows, tokenizer):
    """Prompt and completion tokenized apart and joined, EOS behind; labels on completion and EOS."""
    examples = []
    for row in rows:
        prompt = tokenizer(row["prompt"], add_special_tokens=False).input_ids
        answer = tokenizer(row["completion"], add_special_tokens=False).input_ids + [tokenizer.eos_token_id]
        examples.append((prompt + answer, [-100] * len(prompt) + answer))
    return examples


def padded(examples):
    longest = max(len(ids) for ids, _ in examples)
    ids = torch.full((len(examples), longest), 3)
    labels = torch.full((len(examples), longest), -100)
    mask = torch.zeros((len(examples), longest), dtype=torch.long)
    for row, (tokens, targets) in enumerate(examples):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, : len(tokens)] = torch.tensor(targets)
        mask[row, : len(tokens)] = 1
    return ids, labels, mask


def peer_model(folder, quantized, config):
    arguments = {"dtype": torch.float32}
    if quantized:
        arguments["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32)
        arguments["device_map"] = "cpu"
    torch.manual_seed(0)
    return peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(folder, **arguments), config).train()


def peer_losses(model, examples, steps=STEPS):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LR, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1)
    losses = []
    for step in range(steps):
        chosen = examples[step * BATCH * ACCUMULATION : (step + 1) * BATCH * ACCUMULATION]
        count = sum(sum(label != -100 for label in labels[1:]) for _, labels in chosen)
        total = 0.0
        for begin in range(0, len(chosen), BATCH):
            ids, labels, mask = padded(chosen[begin : begin + BATCH])
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
            loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), reduction="sum")
            (loss / count).backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total / count)
    return losses


def our_arguments(folder, data, output, quantized, *extra):
    return ["train", "--model_name", folder, "--dataset", data, "--output_dir", output, "--train_type", "qlora" if quantized else "lora",
            "--precision", "fp32", "--backend", "cpu", "--batch_size", BATCH, "--gradient_accumulation_steps", ACCUMULATION, "--lr", LR,
            "--lr_scheduler", "constant", "--apply_gradient_clipping", "true", "--grad_norm", "0.3", "--max_steps", STEPS, "--context_length", "256",
            "--log_to", "none", *extra]


def lora_config(**overrides):
    return peft.LoraConfig(**{"r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "task_type": "CAUSAL_LM",
                              "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], **overrides})


@pytest.mark.parametrize("family, quantized, config, extra", [
    ("llama", True, {}, []),
    ("llama", False, {}, ["--recompute", "keep"]),
    ("qwen2", True, {"use_rslora": True}, ["--recompute", "selective"]),
    ("qwen3", False, {"target_modules": ["q_proj", "v_proj"]}, ["--recompute", "selective", "--kernels", "reference"]),
    ("mistral", True, {"layers_to_transform": [1]}, ["--recompute", "recompute"]),
    ("llama", False, {"modules_to_save": ["lm_head", "embed_tokens"]}, []),
], ids=["qlora", "lora-keep", "rslora-selective", "qv-reference-kernels", "one-layer", "modules-to-save"])
def test_50_steps_follow_peft(tmp_path, family, quantized, config, extra):
    folder = make_model(family, tmp_path / "model", **WIDE)
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    examples = encode(rows, AutoTokenizer.from_pretrained(folder))
    model = peer_model(folder, quantized, lora_config(**config))
    model.save_pretrained(tmp_path / "start")
    lorica(*our_arguments(folder, tmp_path / "rows.jsonl", tmp_path / "out", quantized, "--adapter", tmp_path / "start", *extra,
                          "--shuffle", "false"))
    ours = [row["loss"] for row in train_metrics(tmp_path / "out")]
    theirs = peer_losses(model, examples * 5)
    assert len(ours) == STEPS
    worst = max(abs(a - b) for a, b in zip(ours, theirs))
    assert worst < 1e-4, f"largest difference {worst}: {list(zip(ours, theirs))[:5]}"
    assert theirs[0] - theirs[-1] > 0.02, "nothing was learned: the comparison would be empty"


def tokens(rows=2, length=40):
    return torch.tensor([random_tokens(length, seed=7 + row) for row in range(rows)])


@pytest.mark.parametrize("quantized, overrides", [
    (False, {}), (True, {}), (False, {"use_rslora": True}), (False, {"lora_target_modules": "q_proj,up_proj"}),
    (False, {"layers_to_transform": "1"}), (False, {"modules_to_save": "lm_head"}), (False, {"lora_target_modules": r".*(q|down)_proj"}),
], ids=lambda value: ",".join(value) if isinstance(value, dict) else "qlora" if value else "lora")
def test_peft_reads_our_adapter(tmp_path, quantized, overrides):
    """Outputs agree to 1e-5 of the logits' size (float32); bitsandbytes' own product adds its rounding in 4 bits."""
    folder = make_model("llama", tmp_path / "model", **WIDE)
    write_rows(tmp_path / "rows.jsonl", 40)
    extra = ["--lora_dropout", "0"] + [word for key, value in overrides.items() for word in (f"--{key}", "true" if value is True else value)]
    lorica(*our_arguments(folder, tmp_path / "rows.jsonl", tmp_path / "out", quantized, "--max_steps", 5, "--lr", "1e-2", "--lora_rank", 4, *extra))
    adapter = tmp_path / "out" / "final"
    arguments = {"dtype": torch.float32}
    if quantized:
        arguments["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32)
        arguments["device_map"] = "cpu"
    base = transformers.AutoModelForCausalLM.from_pretrained(folder, **arguments)
    ids = tokens()
    with torch.no_grad():
        plain = base.train()(ids).logits  # (in evaluation bitsandbytes' CPU product is bfloat16)
        expected = peft.PeftModel.from_pretrained(base, adapter).train()(ids).logits
    got = lorica_logits(tmp_path, folder, ids, "--adapter", adapter, "--precision", "fp32", *(["--n_bits", "4"] if quantized else []))
    assert largest(plain, expected) > 1e-2, "the adapter changes nothing"
    assert largest(got, expected) < (1e-3 if quantized else 1e-5 * expected.abs().max().item())


def test_merged_weights_equal_pefts(tmp_path):
    """Merged in float32 onto the original base; transformers loads it, PEFT's own merge gives the same weights."""
    folder = make_model("qwen2", tmp_path / "model", sharded=True)
    write_rows(tmp_path / "rows.jsonl", 40)
    lorica(*our_arguments(folder, tmp_path / "rows.jsonl", tmp_path / "out", False, "--max_steps", 5, "--lr", "1e-2", "--lora_rank", 4))
    text = lorica("merge", "--model", folder, "--adapter", tmp_path / "out" / "final", "--output", tmp_path / "merged", "--shard_size", "200KB")
    assert "largest difference" in text
    assert len(list((tmp_path / "merged").glob("model-*.safetensors"))) > 1
    theirs = peft.PeftModel.from_pretrained(load_model(folder), tmp_path / "out" / "final").merge_and_unload().state_dict()
    ours = {}
    for shard in (tmp_path / "merged").glob("*.safetensors"):
        ours.update(load_file(shard))
    assert max(largest(ours[name], theirs[name]) for name in ours) < 1e-6
    ids = tokens()
    with torch.no_grad():
        whole = load_model(tmp_path / "merged")(ids).logits
    assert largest(lorica_logits(tmp_path, folder, ids, "--adapter", tmp_path / "out" / "final", "--precision", "fp32"), whole) < 1e-4


def test_merge_onto_the_base_that_qlora_saw(tmp_path):
    """With --n_bits 4 the adapter is added to the dequantized base, and the logits are those of QLoRA training."""
    folder = make_model("llama", tmp_path / "model", **WIDE)
    write_rows(tmp_path / "rows.jsonl", 40)
    lorica(*our_arguments(folder, tmp_path / "rows.jsonl", tmp_path / "out", True, "--max_steps", 5, "--lr", "1e-2", "--lora_rank", 4))
    adapter = tmp_path / "out" / "final"
    text = lorica("merge", "--model", folder, "--adapter", adapter, "--output", tmp_path / "merged", "--n_bits", 4, "--precision", "fp32",
                  "--dtype", "float32")
    assert "dequantized" in text
    ids = tokens()
    live = lorica_logits(tmp_path, folder, ids, "--adapter", adapter, "--n_bits", 4, "--precision", "fp32")
    with torch.no_grad():
        assert largest(load_model(tmp_path / "merged")(ids).logits, live) < 1e-4


def test_merge_refuses_another_vocabulary(tmp_path):
    """Nothing is resized unasked."""
    folder = make_model("llama", tmp_path / "model", vocabulary=320)
    other = make_model("llama", tmp_path / "other", vocabulary=336)
    write_rows(tmp_path / "rows.jsonl", 16)
    lorica(*our_arguments(other, tmp_path / "rows.jsonl", tmp_path / "out", False, "--max_steps", 2, "--modules_to_save", "lm_head"))
    message = refused("merge", "--model", folder, "--adapter", tmp_path / "out" / "final", "--output", tmp_path / "merged")
    assert "lm_head" in message and "336" in message and "320" in message and "vocabulary" in message
    assert not (tmp_path / "merged").exists()


def test_full_fine_tuning_follows_transformers(tmp_path):
    folder = make_model("qwen3", tmp_path / "model", tied=True)
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    examples = encode(rows, AutoTokenizer.from_pretrained(folder))
    lorica(*[word if word != "lora" else "full" for word in our_arguments(folder, tmp_path / "rows.jsonl", tmp_path / "out", False, "--shuffle", "false")])
    ours = [row["loss"] for row in train_metrics(tmp_path / "out")]
    theirs = peer_losses(load_model(folder).train(), examples * 5)
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1e-4
    ids = tokens()
    with torch.no_grad():
        expected = load_model(tmp_path / "out" / "final")(ids).logits
    assert largest(lorica_logits(tmp_path, tmp_path / "out" / "final", ids, "--precision", "fp32"), expected) < 1e-4


LAYOUTS = {
    "one by one": ["--batch_size", 1, "--gradient_accumulation_steps", 8],
    "all at once": ["--batch_size", 8, "--gradient_accumulation_steps", 1],
    "selective": ["--batch_size", 2, "--gradient_accumulation_steps", 4, "--recompute", "selective"],
    "kept": ["--batch_size", 4, "--gradient_accumulation_steps", 2, "--recompute", "keep"],
}


@pytest.mark.parametrize("train_type", ["qlora", "full"])
def test_no_layout_changes_the_loss(tmp_path, train_type):
    """The losses don't depend on accumulation, batch size or what is recomputed."""
    folder = make_model("llama", tmp_path / "model", **WIDE)
    write_rows(tmp_path / "rows.jsonl", 60)
    curves = {}
    for name, layout in LAYOUTS.items():
        output = tmp_path / name.replace(" ", "-")
        arguments = our_arguments(folder, tmp_path / "rows.jsonl", output, True, "--max_steps", 10, *layout)
        if train_type == "full":
            arguments = [word if word != "qlora" else "full" for word in arguments]
        else:
            arguments += ["--lora_dropout", "0.2", "--lora_rank", 4]
        lorica(*arguments)
        curves[name] = [row["loss"] for row in train_metrics(output)]
    base = curves.pop("one by one")
    for name, curve in curves.items():
        assert max(abs(a - b) for a, b in zip(base, curve, strict=True)) < 2e-5, name
