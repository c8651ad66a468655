"""8-bit weights (LLM.int8()) against bitsandbytes and transformers, live: bytes, files both ways, logits and a training
curve. bitsandbytes also quantizes what a layer reads, which rounds its outputs; we don't, so that the reference of a
product is the dequantized weight's."""
import shutil

import bitsandbytes.functional as bnb
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import test_quant
import test_training
from models import load_model, make_model, random_tokens
from runner import largest, lorica, lorica_logits, train_metrics

SHAPES = [(64, 96), (17, 31), (1, 5), (130, 257)]


def vectorwise(tensor):
    codes, absmax, _ = bnb.int8_vectorwise_quant(tensor.to(torch.float16))
    return codes, absmax


def is_linear(name):
    return name.endswith("_proj.weight")


def in_8_bits(folder, target):
    """The folder as transformers + bitsandbytes save it in 8 bits."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=transformers.BitsAndBytesConfig(load_in_8bit=True), dtype=torch.float16, device_map="cpu")
    model.save_pretrained(target)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, target / name)
    return target


def with_dequantized_weights(folder):
    """The float32 model that an 8-bit folder stands for."""
    saved = load_file(folder / "model.safetensors")
    config = transformers.AutoConfig.from_pretrained(folder)
    del config.quantization_config
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    state = {}
    for name, tensor in saved.items():
        if is_linear(name):
            scales = saved[name.removesuffix("weight") + "SCB"]
            tensor = tensor.float() * (scales * torch.tensor(1 / 127, dtype=torch.float32)).unsqueeze(1)
        if not name.endswith((".SCB", ".weight_format")):
            state[name] = tensor.float()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    return model


def load_rounded(folder):
    """The model with its linear layers rounded to 8 bits."""
    model = load_model(folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_linear(name):
                codes, absmax = vectorwise(parameter)
                parameter.copy_(codes.float() * (absmax * torch.tensor(1 / 127)).unsqueeze(1))
    return model


@pytest.mark.parametrize("dtype", test_quant.DTYPES)
def test_codes_and_statistics_are_theirs(dtype, tmp_path):
    torch.manual_seed(0)
    tensors = {f"m{i}.weight": (torch.randn(shape) * 10.0 ** (i % 4 - 3)).to(test_quant.DTYPES[dtype]) for i, shape in enumerate(SHAPES)}
    tensors["m0.weight"][3] = tensors["m0.weight"][3].sign() * 0.5  # ties at the edge of the range
    save_file(tensors, tmp_path / "in.safetensors")
    test_quant.tool("quantize", tmp_path / "in.safetensors", tmp_path / "out.safetensors", "int8", 64, 0, "automatic")
    ours = load_file(tmp_path / "out.safetensors")
    for name, tensor in tensors.items():
        module = name.removesuffix("weight")
        codes, absmax = vectorwise(tensor)
        assert torch.equal(ours[name], codes), name
        assert torch.equal(ours[module + "SCB"], absmax), name
        assert ours[module + "weight_format"].item() == 0


def test_files_of_transformers_are_read_and_those_we_write_are_loaded(tmp_path):
    folder = make_model("llama", tmp_path / "model", dtype="float16")
    theirs = in_8_bits(folder, tmp_path / "theirs")
    saved = load_file(theirs / "model.safetensors")
    names = sorted(filter(is_linear, saved))
    assert len(names) == 14 and all(saved[name].dtype == torch.int8 for name in names)

    ids = torch.tensor([random_tokens(40, seed=7)])
    ours = lorica_logits(tmp_path, theirs, ids, "--precision", "fp32")
    with torch.no_grad():
        expected = with_dequantized_weights(theirs)(ids).logits
    # Sums of 176 products in float32 through two layers: 1e-6 of the logits, which reach 10; as for dense weights.
    assert largest(ours, expected) < 1e-4

    state = load_file(folder / "model.safetensors")
    save_file({name: state[name] for name in names}, tmp_path / "in.safetensors")
    test_quant.tool("quantize", tmp_path / "in.safetensors", tmp_path / "out.safetensors", "int8", 64, 0, "automatic")
    written = load_file(tmp_path / "out.safetensors")
    assert all(torch.equal(written[key], saved[key]) for key in written) and len(written) == 3 * len(names)
    mine = shutil.copytree(theirs, tmp_path / "mine")
    save_file(written | {k: v for k, v in saved.items() if k not in written}, mine / "model.safetensors", {"format": "pt"})
    with torch.no_grad():
        a, b = (transformers.AutoModelForCausalLM.from_pretrained(f, device_map="cpu")(ids).logits for f in (theirs, mine))
    assert torch.equal(a, b)


def test_training_follows_peft_on_the_dequantized_weights(tmp_path):
    folder = make_model("llama", tmp_path / "model", **test_training.WIDE)
    rows = test_training.write_rows(tmp_path / "rows.jsonl", test_training.ROWS)
    examples = test_training.encode(rows, transformers.AutoTokenizer.from_pretrained(folder))
    torch.manual_seed(0)
    peer = test_training.peft.get_peft_model(load_rounded(folder), test_training.lora_config()).train()
    peer.save_pretrained(tmp_path / "start")
    steps = 10
    arguments = test_training.our_arguments(folder, tmp_path / "rows.jsonl", tmp_path / "out", True, "--adapter", tmp_path / "start",
                                            "--shuffle", "false", "--quant_type", "int8", "--max_steps", steps)
    lorica(*arguments)
    ours = [row["loss"] for row in train_metrics(tmp_path / "out")]
    theirs = test_training.peer_losses(peer, examples, steps)
    assert len(ours) == steps
    assert max(abs(a - b) for a, b in zip(ours, theirs)) < 1e-4
    assert theirs[0] - theirs[-1] > 0.01, "nothing was learned: the comparison would be empty"

    lorica("merge", "--model_name", folder, "--adapter", tmp_path / "out" / "final", "--output", tmp_path / "merged", "--quant_type", "int8", "--precision", "fp32")
    merged = load_model(tmp_path / "merged")
    ids = torch.tensor([random_tokens(40, seed=9)])
    with torch.no_grad():
        live = test_training.peft.PeftModel.from_pretrained(load_rounded(folder), tmp_path / "out" / "final").eval()
        assert largest(merged(ids).logits, live(ids).logits) < 1e-4
