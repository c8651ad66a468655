"""Safetensors files: what Lorica writes loads in the reference library, and the reverse, byte for byte.

Drives the small program tests/unit/io builds into test_io: the GoogleTest cases `Exchange.*` read and write the files
that the environment variables LORICA_EXCHANGE_IN and LORICA_EXCHANGE_OUT name.
"""
import os
import pathlib
import subprocess

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_io_program() -> pathlib.Path:
    build = pathlib.Path(os.environ.get("LORICA_BUILD", ROOT / "build"))
    program = build / "test_io"
    assert program.exists(), f"{program} is not built; set LORICA_BUILD to the build folder"
    return program


test_io_program.__test__ = False

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool,
]


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    result = {}
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")
        raw = torch.randint(0, 2 if dtype == torch.bool else 50, (3, 5), generator=generator)
        result[f"model.{name}.weight"] = raw.to(dtype)
    result["scalar"] = torch.tensor(3.5)
    result["empty"] = torch.zeros(0, 4)
    result["naïve \"name\""] = torch.ones(2)
    return result


@pytest.fixture
def exchanged(tmp_path):
    """The reference's file, and Lorica's copy of it made tensor by tensor."""
    source, copy = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    save_file(tensors(), source, metadata={"format": "pt", "note": "größe"})
    environment = dict(os.environ, LORICA_EXCHANGE_IN=str(source), LORICA_EXCHANGE_OUT=str(copy))
    result = subprocess.run([test_io_program(), "--gtest_filter=Exchange.CopiesTensorByTensor"], env=environment,
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return source, copy


def test_same_tensors_both_ways(exchanged):
    source, copy = exchanged
    expected, got = tensors(), load_file(copy)
    assert expected.keys() == got.keys()
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype and got[name].shape == tensor.shape, name
        assert got[name].contiguous().view(-1).numpy(force=True).tobytes() == tensor.view(-1).numpy().tobytes() \
            if tensor.dtype not in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2) \
            else torch.equal(got[name].view(torch.uint8), tensor.view(torch.uint8)), name


def test_same_metadata(exchanged):
    _, copy = exchanged
    with safe_open(copy, "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "größe"}


def test_same_layout_size(exchanged):
    source, copy = exchanged
    assert source.stat().st_size == copy.stat().st_size
