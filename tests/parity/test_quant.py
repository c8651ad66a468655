"""4-bit weights against bitsandbytes, run live on its CPU: packed bytes, absmax, nested state and JSON text byte for
byte, both ways; and a checkpoint that transformers + bitsandbytes save.
"""
import os
import pathlib
import subprocess

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # bitsandbytes would compile its generic code anew for each shape

import bitsandbytes.functional as bnb
import pytest
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from safetensors.torch import load_file, save_file

from covering import covering_rows

ROOT = pathlib.Path(__file__).resolve().parents[2]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BLOCK_SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
CHOICES = {"block_size": BLOCK_SIZES, "dtype": tuple(DTYPES), "quant_type": ("nf4", "fp4"), "double": (False, True)}


def tool(*arguments):
    program = pathlib.Path(os.environ.get("LORICA_BUILD", ROOT / "build")) / "tools" / "quantize_tensor"
    assert program.exists(), f"{program} is not built; set LORICA_BUILD to the build folder"
    result = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def modes():
    flags = pathlib.Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    return ["automatic", "reference"] + [m for m in ("avx2", "avx512") if {"avx2": "avx2", "avx512": "avx512vl"}[m] in flags]


@pytest.fixture
def block_sizes(request, dtype, quant_type, double):
    """All of them with --slow; otherwise bitsandbytes' own default, and of the others so many that each meets each value of what else is chosen."""
    case = {"dtype": dtype, "quant_type": quant_type, "double": double}
    lean = {row["block_size"] for row in covering_rows(CHOICES) if case.items() <= row.items()}
    return BLOCK_SIZES if request.config.getoption("--slow") else sorted(lean | {64})


def special_values(code):
    """Ties and their neighbours in a block whose absmax is 1, signed zeros, subnormals, huge and tiny blocks."""
    ordered = code.sort().values
    middles = (ordered[1:] + ordered[:-1]) / 2
    near = torch.cat([middles, torch.nextafter(middles, torch.tensor(2.0)), torch.nextafter(middles, torch.tensor(-2.0))])
    one = torch.ones(1)
    blocks = [torch.cat([one, near, torch.zeros(18)]), torch.cat([-one, near * 0.5, -torch.zeros(18)]),
              torch.zeros(64), -torch.zeros(64), torch.cat([one, code.repeat(4)[1:]]), torch.randn(64) * 1e-42,
              torch.randn(64) * 1e-38, torch.randn(64) * 1e37, torch.full((64,), 1.4e-45), torch.randn(64) * 6e-8]
    return torch.cat(blocks)


def weights(dtype, quant_type):
    torch.manual_seed(0)
    code = bnb.get_4bit_type(quant_type, device="cpu")
    shapes = {"square": (256, 256), "tall": (1000, 96), "odd": (17, 31), "prime": (127, 521), "row": (1, 5),
              "one": (1, 1), "vector": (4099,), "wide": (3, 4096), "large": (130, 4096)}
    tensors = {name: (torch.randn(shape) * 10.0 ** (i % 5 - 3)).to(dtype) for i, (name, shape) in enumerate(shapes.items())}
    special = special_values(code)
    finite = torch.finfo(dtype).max
    tensors["special"] = special.clamp(-finite, finite).to(dtype).reshape(-1, 64)
    tensors["special_tail"] = special.clamp(-finite, finite).to(dtype)[:-17]
    tensors["zero_tail"] = torch.cat([torch.ones(64), torch.zeros(7)]).to(dtype)
    return tensors


def expected_state(tensor, quant_type, block_size, double):
    packed, state = bnb.quantize_4bit(tensor, blocksize=block_size, quant_type=quant_type, compress_statistics=double)
    return packed, state, {"": packed} | {"." + k: v for k, v in state.as_dict(packed=True).items()}


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))


def dequantized(packed, state):
    """bitsandbytes' own value. Its AVX-512 kernel takes a wrong absmax where a row does not hold whole blocks
    (seen in 0.50.2: errors of the size of the weights), and where the CPU has bfloat16 instructions, these flush
    subnormal results (below 1.2e-38) to zero. For both its own generic code is the oracle."""
    tiny = state.dtype == torch.bfloat16 and not state.nested and (state.absmax < 1e-35).any()
    if state.shape[-1] % state.blocksize == 0 and not tiny:
        return bnb.dequantize_4bit(packed, state)
    absmax = state.absmax
    if state.nested:
        absmax = bnb.dequantize_blockwise(absmax, state.state2) + state.offset
    return _dequantize_4bit_compute(packed.reshape(-1), absmax, state.code, state.blocksize, state.shape, state.dtype)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_and_statistics(dtype, quant_type, double, block_sizes, tmp_path):
    tensors = weights(DTYPES[dtype], quant_type)
    save_file(tensors, tmp_path / "in.safetensors")
    for block_size in block_sizes:
        mode = modes()[block_size.bit_length() % len(modes())]
        tool("quantize", tmp_path / "in.safetensors", tmp_path / "out.safetensors", quant_type, block_size, int(double), mode)
        ours = load_file(tmp_path / "out.safetensors")
        theirs = {}
        for name, tensor in tensors.items():
            packed, state, parts = expected_state(tensor, quant_type, block_size, double)
            theirs |= {name + suffix: part for suffix, part in parts.items()}
        assert ours.keys() == theirs.keys()
        wrong = [name for name in theirs if not same(ours[name], theirs[name])]
        assert not wrong, (block_size, mode, wrong)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_their_bytes_give_their_values(dtype, quant_type, double, block_sizes, tmp_path):
    tensors = weights(DTYPES[dtype], quant_type)
    for block_size in block_sizes:
        saved, values = {}, {}
        for name, tensor in tensors.items():
            packed, state, parts = expected_state(tensor, quant_type, block_size, double)
            saved |= {name + suffix: part for suffix, part in parts.items()}
            values[name] = dequantized(packed, state)
        save_file({k: v.contiguous().clone() for k, v in saved.items()}, tmp_path / "in.safetensors")
        for mode in modes() if block_size == 64 else ["automatic"]:
            tool("dequantize", tmp_path / "in.safetensors", tmp_path / "out.safetensors", dtype, mode)
            ours = load_file(tmp_path / "out.safetensors")
            assert ours.keys() == values.keys()
            wrong = [name for name in values if not torch.equal(ours[name], values[name].reshape(ours[name].shape))]
            assert not wrong, (block_size, mode, wrong)


def test_a_checkpoint_of_transformers_loads_and_is_what_we_write(tmp_path):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=64, hidden_size=128, intermediate_size=192, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2)
    plain = LlamaForCausalLM(config).to(torch.bfloat16)
    plain.save_pretrained(tmp_path / "plain")
    for quant_type in ("nf4", "fp4"):
        for double in (False, True):
            quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=quant_type,
                                              bnb_4bit_use_double_quant=double, bnb_4bit_compute_dtype=torch.bfloat16)
            model = AutoModelForCausalLM.from_pretrained(tmp_path / "plain", quantization_config=quantization,
                                                         dtype=torch.bfloat16, device_map="cpu")
            folder = tmp_path / f"{quant_type}{double}"
            model.save_pretrained(folder)
            saved = load_file(folder / "model.safetensors")
            names = sorted(k for k in saved if k.endswith("_proj.weight"))
            assert len(names) == 14 and all(saved[n].dtype == torch.uint8 for n in names)

            tool("dequantize", folder, tmp_path / "dense.safetensors", "bfloat16", "automatic")
            ours = load_file(tmp_path / "dense.safetensors")
            assert sorted(ours) == names
            for name in names:
                weight = model.get_submodule(name.removesuffix(".weight")).weight
                assert torch.equal(ours[name], dequantized(weight.data, weight.quant_state)), name

            state = plain.state_dict()
            save_file({n: state[n].contiguous() for n in names}, tmp_path / "in.safetensors")
            tool("quantize", tmp_path / "in.safetensors", tmp_path / "out.safetensors", quant_type, 64, int(double), "automatic")
            written = load_file(tmp_path / "out.safetensors")
            theirs = {k: v for k, v in saved.items() if any(k.startswith(n) for n in names)}
            assert written.keys() == theirs.keys()
            assert not [k for k in theirs if not same(written[k], theirs[k])]


def test_weights_stored_as_another_dtype_load(tmp_path):
    """bnb_4bit_quant_storage: the same bytes seen as bfloat16, as sharded training with FSDP saves them."""
    torch.manual_seed(0)
    tensor = torch.randn(64, 128)
    packed, state = bnb.quantize_4bit(tensor, quant_type="nf4", quant_storage=torch.bfloat16)
    parts = {"w." + k: v.contiguous() for k, v in state.as_dict(packed=True).items()} | {"w": packed}
    save_file(parts, tmp_path / "in.safetensors")
    tool("dequantize", tmp_path / "in.safetensors", tmp_path / "out.safetensors", "float32", "automatic")
    assert torch.equal(load_file(tmp_path / "out.safetensors")["w"], bnb.dequantize_4bit(packed, state))
