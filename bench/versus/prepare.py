"""Writes what both sides of a comparison read: a model of the shape of Qwen2.5-0.5B with seeded random weights, a LoRA adapter to start from, and data.

usage: prepare.py FOLDER [--layers N] [--tokens N] [--rows N] [--rank N]

The shape is Qwen2.5-0.5B's (its published config.json): 24 layers 896 wide, 14 query and 2 key-value heads, 4864 in the
middle, 151936 entries in a tied embedding. Weights are stored in bfloat16, as that model's are.
Both halves of the adapter are random: with B = 0, as it usually starts, the first step would say nothing about A's gradient.
`rows.jsonl`: every example is longer than --tokens, and so is cut to exactly that many. `instructions.jsonl`: examples whose lengths are distributed as
Alpaca's (see instruction_lengths). Nothing is written twice: a folder that is complete and was made with the same arguments is left alone.
"""
from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import sys
from pathlib import Path

import peft
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "parity"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from models import make_tokenizer, sample_text  # noqa: E402
from shape import config_of, linear_shapes  # noqa: E402

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def weights(config: dict) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape, mean=0.0, std=0.02):
        return (torch.randn(shape, generator=generator) * std + mean).bfloat16()

    tensors = {"model.embed_tokens.weight": normal(config["vocab_size"], config["hidden_size"]), "model.norm.weight": normal(config["hidden_size"], mean=1.0)}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for name, shape in linear_shapes(config).items():
            tensors[f"{at}{name}.weight"] = normal(*shape)
            if name.endswith(("q_proj", "k_proj", "v_proj")):
                tensors[f"{at}{name}.bias"] = normal(shape[0])
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{at}{norm}.weight"] = normal(config["hidden_size"], mean=1.0)
    return tensors


def write_adapter(folder: Path, config: dict, rank: int) -> None:
    generator = torch.Generator().manual_seed(2)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for name, (out, width) in linear_shapes(config).items():
            at = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{at}.lora_A.weight"] = torch.randn((rank, width), generator=generator) * width ** -0.5
            tensors[f"{at}.lora_B.weight"] = torch.randn((out, rank), generator=generator) * 0.02
    folder.mkdir()
    peft.LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=MODULES, task_type="CAUSAL_LM").save_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def write_rows(path: Path, rows: int, tokens: int) -> None:
    """Texts that are longer than `tokens` tokens, so that every example is cut to exactly that many."""
    lines = sample_text(rows * (tokens // 20), seed=3)
    each = len(lines) // rows
    with open(path, "w", encoding="utf-8") as file:
        for row in range(rows):
            file.write(json.dumps({"text": " ".join(lines[row * each : (row + 1) * each])}) + "\n")


def instruction_lengths(count: int, seed: int = 4) -> list[int]:
    """Tokens of each example: log-normal with median 100 and sigma 0.6, at most 1,000: Alpaca's shape, many short answers and a long tail."""
    draw = random.Random(seed)
    return [min(1000, max(16, round(math.exp(draw.gauss(math.log(100), 0.6))))) for _ in range(count)]


def write_instructions(path: Path, tokenizer_folder: Path, count: int) -> None:
    """Texts of exactly those lengths, so that both sides cut nothing."""
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    words = " ".join(sample_text(400, seed=5)).split()
    draw = random.Random(6)
    with open(path, "w", encoding="utf-8") as file:
        for length in instruction_lengths(count):
            first = draw.randrange(len(words))
            text = " ".join(words[(first + i) % len(words)] for i in range(length))
            encoding = tokenizer.encode(text, add_special_tokens=False)
            file.write(json.dumps({"text": text[: encoding.offsets[length - 1][1]]}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--instructions", type=int, default=500)
    options = parser.parse_args()
    made_with = json.dumps({key: value for key, value in vars(options).items() if key != "folder"})
    stamp = options.folder / "made_with.json"
    if stamp.exists() and stamp.read_text() == made_with:
        return
    shutil.rmtree(options.folder, ignore_errors=True)
    config = config_of(options.layers)
    make_tokenizer(options.folder / "model")
    (options.folder / "model" / "config.json").write_text(json.dumps(config, indent=2))
    save_file(weights(config), options.folder / "model" / "model.safetensors", metadata={"format": "pt"})
    write_adapter(options.folder / "adapter", config, options.rank)
    write_rows(options.folder / "rows.jsonl", options.rows, options.tokens)
    write_instructions(options.folder / "instructions.jsonl", options.folder / "model", options.instructions)
    stamp.write_text(made_with)


if __name__ == "__main__":
    main()
