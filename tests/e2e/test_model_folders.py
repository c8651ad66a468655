"""Model, adapter and checkpoint folders that aren't what they were given as, or hold more than the model uses: every command
says what is there and what to do, and none drops a tensor or a key in silence."""

import json
import shutil
import struct

import pytest
import tiny
from conftest import refused

Q_PROJ = "model.layers.0.self_attn.q_proj.weight"


def change_config(model, **changes):
    path = model / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def append(model, **tensors):
    """Adds float32 tensors of zeros, by name and shape."""
    file = tiny.Safetensors(model / "model.safetensors")
    for name, shape in tensors.items():
        size = 4
        for extent in shape:
            size *= extent
        file.header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(file.data), len(file.data) + size]}
        file.data += bytes(size)
    file.write()


@pytest.fixture
def ids(tmp_path):
    """Token ids for `forward`."""
    path = tmp_path / "ids.safetensors"
    header = json.dumps({"input_ids": {"dtype": "I64", "shape": [1, 4], "data_offsets": [0, 32]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<4q", 5, 6, 7, 8))
    return path


def commands(training, model, ids, tmp_path):
    """The commands that read a base model, each with what it needs."""
    return [training, ["plan", "--model_name", model], ["generate", "--model_name", model, "--prompt", "x", "--max_new_tokens", "1"],
            ["forward", "--model_name", model, "--input", ids, "--output", tmp_path / "logits.safetensors"]]


def test_tensors_that_nothing_uses_are_named(lorica, training, model, ids, tmp_path, output):
    append(model, **{"model.layers.7.mlp.up_proj.weight": [2, 2], "model.layers.0.self_attn.q_proj.bias": [64], "mtp.head.weight": [3],
                     "visual.patch.weight": [2], "model.layers.0.self_attn.rotary_emb.inv_freq": [8]})
    for command in commands(training, model, ids, tmp_path):
        text = lorica.ok(*command).text
        for name in ("layers.7.mlp.up_proj.weight", "num_hidden_layers is 2", "q_proj.bias", "mtp.head.weight", "visual.patch.weight"):
            assert name in text, command
        assert "inv_freq" not in text
        assert text.count("mtp.head.weight") == 1
    lorica.ok("merge", "--model_name", model, "--adapter", output / "final", "--output", tmp_path / "merged")
    assert tiny.Safetensors(tmp_path / "merged" / "model.safetensors").header["mtp.head.weight"]["shape"] == [3]


def test_a_file_that_the_index_does_not_name_is_named(lorica, training, model, ids, tmp_path):
    weights = tiny.Safetensors(model / "model.safetensors")
    shard = "model-00001-of-00001.safetensors"
    index = {"metadata": {}, "weight_map": {name: shard for name in weights.header if name != "__metadata__"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copy(model / "model.safetensors", model / "consolidated.safetensors")
    (model / "model.safetensors").rename(model / shard)
    for command in commands(training, model, ids, tmp_path):
        assert "consolidated.safetensors" in lorica.ok(*command).text, command


QUANTIZED = {
    "gptq": ({"quant_method": "gptq", "bits": 4}, "GPTQ"),
    "awq": ({"quant_method": "awq", "bits": 4}, "AWQ"),
    "fp8": ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "FineGrainedFP8Config(dequantize=True)"),
    "compressed": ({"quant_method": "compressed-tensors", "format": "int-quantized"}, "llm-compressor"),
    "hqq": ({"quant_method": "hqq"}, "HQQ"),
    "quanto": ({"quant_method": "quanto"}, "quanto"),
    "mxfp4": ({"quant_method": "mxfp4"}, "Mxfp4Config"),
    "other": ({"quant_method": "brand-new"}, "brand-new"),
}


@pytest.mark.parametrize("method", QUANTIZED)
def test_other_quantizations_are_refused_with_their_name(lorica, training, model, ids, tmp_path, output, method):
    entry, name = QUANTIZED[method]
    change_config(model, quantization_config=entry)
    for command in commands(training, model, ids, tmp_path)[:2 if method != "fp8" else 4]:
        refused(lorica(*command), "config.json", "quantization_config", name, "16-bit", output=output)


def test_8_bit_floats_are_recognized_without_a_config(lorica, training, model, ids, tmp_path, output):
    weights = tiny.Safetensors(model / "model.safetensors")
    entry = weights.header[Q_PROJ]
    begin, end = entry["data_offsets"]
    entry["dtype"], entry["shape"] = "F8_E4M3", [64, (end - begin) // 64]
    weights.write()
    for command in commands(training, model, ids, tmp_path):
        refused(lorica(*command), Q_PROJ, "8-bit floats", "16-bit", output=output)


@pytest.mark.parametrize("key, value", [("attn_logit_softcapping", 50.0), ("residual_multiplier", 0.5), ("sliding_window", 4),
                                        ("num_local_experts", 8), ("use_qk_norm", True), ("partial_rotary_factor", 0.5)])
def test_keys_that_decide_numbers_are_refused(lorica, training, model, ids, tmp_path, output, key, value):
    change_config(model, **{key: value})
    for command in commands(training, model, ids, tmp_path)[:2]:
        refused(lorica(*command), "config.json", key, output=output)


def test_keys_that_nobody_knows_are_named_and_those_of_every_model_are_not(lorica, model):
    change_config(model, attn_logit_softcapping=None, pretraining_tp=2, transformers_version="5.0", novel_setting=3, novel_off=None)
    text = lorica.ok("plan", "--model_name", model).text
    assert "novel_setting" in text
    for key in ("novel_off", "pretraining_tp", "transformers_version", "softcapping"):
        assert key not in text


def test_a_model_without_a_head(lorica, training, model, ids, tmp_path, output):
    change_config(model, tie_word_embeddings=False)  # the file has the embedding alone
    for command in commands(training, model, ids, tmp_path):
        refused(lorica(*command), "lm_head.weight", "no output head", "tie_word_embeddings", output=output)


def test_another_thing_than_a_model(lorica, training, model, ids, tmp_path, output):
    lorica.ok(*training, "--save_steps", "3")
    adapter = output / "final"
    for command in commands(training, adapter, ids, tmp_path)[1:]:
        refused(lorica(*command), str(adapter), "is a LoRA adapter", "--model_name", f"--adapter {adapter}")
    second = tmp_path / "second"
    again = [*training, "--output_dir", second]
    refused(lorica(*again, "--model_name", adapter), "is a LoRA adapter", f"--adapter {adapter}", output=second)
    refused(lorica(*again, "--adapter", model), "is a model folder", f"--model_name {model}", output=second)
    refused(lorica(*again, "--adapter", output), "is the folder of a training run", f"--adapter {adapter}", output=second)
    refused(lorica(*again, "--resume", adapter), "is a LoRA adapter", f"--adapter {adapter}")
    refused(lorica(*again, "--resume", model), "is a model folder", f"--model_name {model}")
    refused(lorica(*again, "--resume", output), "is the folder of a training run", "checkpoint-6")
    for name in ("config.json", "model.safetensors"):
        (model / name).unlink()
    refused(lorica(*again), str(model), "a tokenizer alone", "Fetch the whole model", output=second)
    for name, needle in (("pytorch_model.bin", "pickles"), ("model-Q4.gguf", "GGUF")):
        (model / name).write_bytes(b"\0" * 16)
        refused(lorica(*again), needle, output=second)


def test_numbers_that_no_double_holds(lorica, training, model, output):
    for name in ("config.json", "model.safetensors.index.json"):
        path = model / name
        before = path.read_text() if path.exists() else None
        path.write_text('{"model_type": "llama",\n "hidden_size": 1e999}')
        if before is None:
            (model / "model.safetensors").rename(model / "aside")
        refused(lorica(*training), f"{name}:2:", "1e999" if before is None else "number", output=output)
        path.write_text(before) if before else path.unlink()
    (model / "aside").rename(model / "model.safetensors")
    header = b'{"x":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}'
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    refused(lorica(*training), "model.safetensors", "at byte", "number", output=output)


def test_adapters_and_states_hold_nothing_that_is_not_used(lorica, training, model, tmp_path, output):
    lorica.ok(*training, "--save_steps", "3")
    adapter = tiny.Safetensors(output / "final" / "adapter_model.safetensors")
    name = next(name for name in adapter.header if "layers.1" in name and "lora_A" in name)
    shape = adapter.tensor(name)["shape"]
    for extra, entry in (("base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight", "layers.9.self_attn.q_proj"),
                         ("base_model.model.score.weight", "score.weight")):
        broken = tmp_path / "broken"
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(output / "final", broken)
        file = tiny.Safetensors(broken / "adapter_model.safetensors")
        begin = len(file.data)
        size = 4 * shape[0] * shape[1]
        file.header[extra] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, begin + size]}
        file.data += bytes(size)
        if "lora_A" in extra:
            other = extra.replace("lora_A", "lora_B")
            file.header[other] = {"dtype": "F32", "shape": [64, shape[0]], "data_offsets": [begin + size, begin + size + 256 * shape[0]]}
            file.data += bytes(256 * shape[0])
        file.write()
        for command in (["plan", "--model_name", model, "--adapter", broken], [*training, "--adapter", broken, "--output_dir", tmp_path / "two"],
                        ["merge", "--model_name", model, "--adapter", broken, "--output", tmp_path / "merged"]):
            refused(lorica(*command), "adapter_model.safetensors", entry, "another one")
    state = tiny.Safetensors(output / "checkpoint-3" / "optimizer.safetensors")
    key = next(key for key in state.header if key != "__metadata__")
    state.header[key.replace("layers.", "layers.9")] = state.header.pop(key)
    state.write()
    refused(lorica(*training, "--resume", output / "checkpoint-3"), "layers.9", "doesn't train")
