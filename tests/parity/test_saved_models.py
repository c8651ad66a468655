"""Model folders that Lorica writes, as transformers loads them: every key is there and none is too much, and the dtype
that config.json names is the one that the tensors have."""
import json

import pytest
import torch
import transformers
from models import make_model, sample_text
from runner import lorica
from safetensors.torch import load_file


def rows_in(path):
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in sample_text(8)))
    return path


def name_dtype(folder, key, dtype):
    """The way of transformers 4 (torch_dtype) or 5 (dtype)."""
    config = json.loads((folder / "config.json").read_text())
    for old in ("dtype", "torch_dtype"):
        config.pop(old, None)
    config[key] = dtype
    (folder / "config.json").write_text(json.dumps(config))


def loads_as(folder, dtype, key):
    config = json.loads((folder / "config.json").read_text())
    assert {name: config.get(name) for name in ("dtype", "torch_dtype")} == {"dtype": None, "torch_dtype": None, key: dtype}
    tensors = {}
    for shard in folder.glob("*.safetensors"):
        tensors.update(load_file(shard))
    assert {str(tensor.dtype) for tensor in tensors.values()} == {f"torch.{dtype}"}
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto", output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[problem], (problem, info[problem])
    assert model.dtype == getattr(torch, dtype)
    assert all(torch.equal(tensors[name], value) for name, value in model.state_dict().items() if name in tensors)


@pytest.mark.parametrize("family, tied, base, precision, written, key", [
    ("llama", False, "bfloat16", "fp32", "float32", "torch_dtype"),
    ("llama", False, "float16", "bf16", "bfloat16", "dtype"),
    ("qwen2", True, "float32", "bf16", "bfloat16", "torch_dtype"),
])
def test_full_fine_tuning(tmp_path, family, tied, base, precision, written, key):
    folder = make_model(family, tmp_path / "model", dtype=base, tied=tied)
    name_dtype(folder, key, base)
    lorica("train", "--model_name", folder, "--dataset", rows_in(tmp_path / "rows.jsonl"), "--output_dir", tmp_path / "out",
           "--train_type", "full", "--precision", precision, "--max_steps", 2, "--save_steps", 1, "--tokenizer_cache", tmp_path / "cache",
           "--compute_dtype", "float32", "--backend", "cpu", "--log_to", "none")
    loads_as(tmp_path / "out" / "final", written, key)
    config = json.loads((tmp_path / "out" / "checkpoint-1" / "config.json").read_text())
    assert config[key] == written


@pytest.mark.parametrize("dtype, tied", [("float32", False), ("float16", True)])
def test_merged(tmp_path, dtype, tied):
    folder = make_model("llama", tmp_path / "model", dtype="bfloat16", tied=tied)
    name_dtype(folder, "torch_dtype", "bfloat16")
    lorica("train", "--model_name", folder, "--dataset", rows_in(tmp_path / "rows.jsonl"), "--output_dir", tmp_path / "out",
           "--train_type", "lora", "--lora_rank", 2, "--max_steps", 1, "--tokenizer_cache", tmp_path / "cache", "--backend", "cpu", "--log_to", "none")
    lorica("merge", "--model", folder, "--adapter", tmp_path / "out" / "final", "--output", tmp_path / "merged", "--dtype", dtype,
           "--shard_size", "100KB")
    loads_as(tmp_path / "merged", dtype, "torch_dtype")
