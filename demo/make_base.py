"""Writes a Llama of a few million parameters with random weights: config.json and model.safetensors.

usage: make_base.py --tokenizer-dir DIR --output-dir DIR [--seed N] [--hidden N] [--layers N]
Standard library only. Weights are normal with standard deviation 0.02, those that write to the residual stream divided
by sqrt(2 · layers) (GPT-2's rule); norms are 1. The tokenizer's files are copied beside them.
"""

from __future__ import annotations

import argparse
import array
import json
import math
import random
import shutil
import struct
from pathlib import Path


def config_of(vocabulary: int, hidden: int, layers: int) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocabulary, "hidden_size": hidden,
        "intermediate_size": (hidden * 8 // 3 + 63) // 64 * 64, "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64 * 2, "num_key_value_heads": hidden // 64, "head_dim": 32,
        "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, "initializer_range": 0.02,
        "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0, "torch_dtype": "float32",
    }


def tensor_shapes(config: dict) -> dict[str, list[int]]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], hidden], "model.norm.weight": [hidden]}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "input_layernorm.weight": [hidden],
            prefix + "post_attention_layernorm.weight": [hidden],
            prefix + "self_attn.q_proj.weight": [queries, hidden],
            prefix + "self_attn.k_proj.weight": [keys, hidden],
            prefix + "self_attn.v_proj.weight": [keys, hidden],
            prefix + "self_attn.o_proj.weight": [hidden, queries],
            prefix + "mlp.gate_proj.weight": [inner, hidden],
            prefix + "mlp.up_proj.weight": [inner, hidden],
            prefix + "mlp.down_proj.weight": [hidden, inner],
        }
    return shapes


def tensor_bytes(name: str, shape: list[int], layers: int, dice: random.Random) -> bytes:
    count = math.prod(shape)
    if "norm" in name:
        return array.array("f", [1.0] * count).tobytes()
    deviation = 0.02 / (math.sqrt(2 * layers) if name.endswith(("o_proj.weight", "down_proj.weight")) else 1)
    return array.array("f", (dice.gauss(0.0, deviation) for _ in range(count))).tobytes()


def write_safetensors(path: Path, tensors: dict[str, tuple[list[int], bytes]]) -> None:
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, data in tensors.values():
            file.write(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer-dir", type=Path, required=True)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    options = parser.parse_args()

    vocabulary = len(json.loads((options.tokenizer_dir / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
    config = config_of((vocabulary + 63) // 64 * 64, options.hidden, options.layers)
    dice = random.Random(options.seed)
    tensors = {name: (shape, tensor_bytes(name, shape, options.layers, dice)) for name, shape in tensor_shapes(config).items()}
    options.output_dir.mkdir(parents=True, exist_ok=True)
    write_safetensors(options.output_dir / "model.safetensors", tensors)
    (options.output_dir / "config.json").write_text(json.dumps(config, indent=1))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(options.tokenizer_dir / name, options.output_dir / name)
    parameters = sum(math.prod(shape) for shape, _ in tensors.values())
    print(f"{parameters:,} parameters, vocabulary {config['vocab_size']} -> {options.output_dir}")


if __name__ == "__main__":
    main()
