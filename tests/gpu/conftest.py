"""Tests that need an NVIDIA GPU. Without one each skips, with the program's own words as its reason; LORICA_NEED_GPU=1 makes that a
failure, for machines that have one. They reuse the models and jobs of tests/parity."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "parity"))


@pytest.fixture(scope="session")
def gpu(tmp_path_factory):
    """Skips unless `lorica` computes logits on a CUDA device."""
    torch = pytest.importorskip("torch")
    from models import build_folder, make_model
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("probe")
    save_file({"input_ids": torch.tensor([[5, 6, 7]])}, folder / "ids.safetensors")
    command = [build_folder() / "lorica", "forward", "--backend", "cuda", "--precision", "fp32", "--input", folder / "ids.safetensors",
               "--model", make_model("llama", folder / "model"), "--output", folder / "logits.safetensors"]
    probe = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    if probe.returncode == 0:
        return
    reason = probe.stderr.strip().splitlines()[-1] if probe.stderr.strip() else f"exit code {probe.returncode}"
    # Anything but a missing device is a failure even here.
    if "error: --backend cuda:" in reason and os.environ.get("LORICA_NEED_GPU") != "1":
        pytest.skip(reason.removeprefix("error: "))
    pytest.fail(f"lorica can't compute on CUDA here: {reason}")


@pytest.fixture(autouse=True)
def needs_gpu(gpu):
    """Every test of this folder."""
