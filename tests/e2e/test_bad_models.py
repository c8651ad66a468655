"""Broken model folders: the message names the file and the fault, and no run folder appears."""

import json
import struct

import pytest
import tiny
from conftest import refused

Q_PROJ = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def weights(model):
    return tiny.Safetensors(model / "model.safetensors")


def change_config(model, **changes):
    path = model / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def test_missing_folder(lorica, training, tmp_path, output):
    refused(lorica(*training, "--model_name", tmp_path / "nowhere"), "nowhere", output=output)


def test_missing_config(lorica, training, model, output):
    (model / "config.json").unlink()
    refused(lorica(*training), "config.json", output=output)


def test_missing_weights(lorica, training, model, output):
    (model / "model.safetensors").unlink()
    refused(lorica(*training), str(model), "safetensors", output=output)


def test_missing_shard(lorica, training, model, weights, output):
    shard = "model-00002-of-00002.safetensors"
    index = {"metadata": {}, "weight_map": {name: shard for name in weights.header if name != "__metadata__"}}
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(lorica(*training), shard, output=output)


def test_truncated_weights(lorica, training, model, output):
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    refused(lorica(*training), "model.safetensors", output=output)


@pytest.mark.parametrize("length", [1 << 40, (1 << 64) - 1])
def test_header_longer_than_the_file(lorica, training, weights, length, output):
    weights.write(header_length=length)
    refused(lorica(*training), "model.safetensors", "header", output=output)


def test_empty_weight_file(lorica, training, model, output):
    (model / "model.safetensors").write_bytes(b"")
    refused(lorica(*training), "model.safetensors", output=output)


def test_header_that_is_not_json(lorica, training, model, output):
    (model / "model.safetensors").write_bytes(struct.pack("<Q", 8) + b"{not js}" + b"\0" * 64)
    refused(lorica(*training), "model.safetensors", "header", output=output)


def test_overlapping_tensors(lorica, training, weights, output):
    begin, end = weights.tensor(Q_PROJ)["data_offsets"]
    other = next(name for name in weights.header if name.endswith("1.self_attn.q_proj.weight"))
    weights.tensor(other)["data_offsets"] = [begin + 4, end + 4]
    weights.write()
    refused(lorica(*training), "model.safetensors", "overlap", output=output)


def test_size_that_contradicts_the_shape(lorica, training, weights, output):
    weights.tensor(Q_PROJ)["shape"] = [3, 5]
    weights.write()
    refused(lorica(*training), "model.safetensors", Q_PROJ, output=output)


def test_shape_that_contradicts_the_config(lorica, training, model, output):
    change_config(model, intermediate_size=128)
    refused(lorica(*training), "mlp.", "128", output=output)


def test_unknown_dtype(lorica, training, weights, output):
    weights.tensor(Q_PROJ)["dtype"] = "Q7"
    weights.write()
    refused(lorica(*training), "model.safetensors", "Q7", output=output)


def test_integer_weights(lorica, training, weights, output):
    weights.tensor(Q_PROJ)["dtype"] = "I32"
    weights.write()
    refused(lorica(*training), Q_PROJ, "int32", output=output)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("train_type", ["lora", "qlora"])
def test_weights_that_are_not_finite(lorica, training, weights, value, train_type, output):
    weights.overwrite(Q_PROJ, 400, struct.pack("<f", value))
    weights.write()
    refused(lorica(*training, "--train_type", train_type), "model.safetensors", Q_PROJ, output=output)


def test_missing_tensor(lorica, training, weights, output):
    weights.header[Q_PROJ.replace("q_proj", "query")] = weights.header.pop(Q_PROJ)
    weights.write()
    refused(lorica(*training), Q_PROJ, output=output)


def test_unknown_architecture(lorica, training, model, output):
    change_config(model, architectures=["FancyForCausalLM"], model_type="fancy")
    refused(lorica(*training), "fancy", "llama", output=output)


def test_config_that_is_not_json(lorica, training, model, output):
    (model / "config.json").write_text('{"model_type": ')
    refused(lorica(*training), "config.json", output=output)


def test_config_without_a_needed_key(lorica, training, model, output):
    change_config(model, hidden_size=...)
    refused(lorica(*training), "config.json", "hidden_size", output=output)


def test_missing_tokenizer(lorica, training, model, output):
    (model / "tokenizer.json").unlink()
    refused(lorica(*training), "tokenizer", str(model), output=output)


def test_token_beyond_the_embedding(lorica, training, model, output):
    """A tokenizer that is larger than the model: the id, the text and the size are named before any step."""
    path = model / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    for token in ("Ġlast", "Ġword"):
        vocabulary[token] = 5000 + len(token)
    path.write_text(json.dumps(tokenizer))
    refused(lorica(*training), "embedding", output=output)


def test_adapter_of_another_shape(lorica, training, model, output, tmp_path):
    lorica.ok(*training)
    adapter = tiny.Safetensors(output / "final" / "adapter_model.safetensors")
    name = next(name for name in adapter.header if name.endswith("lora_A.weight"))
    rank, width = adapter.tensor(name)["shape"]
    adapter.tensor(name)["shape"] = [rank * 2, width // 2]
    adapter.write()
    second = tmp_path / "second"
    result = lorica(*training, "--adapter", output / "final", "--output_dir", second)
    refused(result, "adapter_model.safetensors", "lora_A", output=second)
