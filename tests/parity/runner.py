"""Runs build/lorica for the parity tests."""
import json
import os
import subprocess
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from models import build_folder

TIMEOUT = 1200  # seconds: nothing here takes one of a hundred on an idle machine; this ends what hangs


def with_kernels(arguments: tuple) -> list:
    """LORICA_KERNELS=reference (or avx2) runs the whole suite on those kernels, where a test doesn't choose them itself."""
    kernels = os.environ.get("LORICA_KERNELS")
    chooses = arguments and arguments[0] in ("train", "generate", "forward", "merge")
    return [*arguments, "--kernels", kernels] if kernels and chooses and "--kernels" not in arguments else list(arguments)


def on_one_thread(arguments: list) -> list:
    """Tests run side by side (tests/conftest.py); who compares threads names their number."""
    return arguments if "--threads" in arguments or not arguments else [*arguments, "--threads", 1]


def lorica(*arguments, environment=None) -> str:
    """Runs the binary, on one thread unless told otherwise; fails with its output unless it exits with 0."""
    command = [str(build_folder() / "lorica"), *map(str, on_one_thread(with_kernels(arguments)))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env={**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})})
    assert result.returncode == 0, f"{' '.join(command)}\nexit code {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout + result.stderr


def refused(*arguments) -> str:
    """Runs the binary, which must refuse with exit code 2; returns its message."""
    result = subprocess.run([str(build_folder() / "lorica"), *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT)
    assert result.returncode == 2, f"exit code {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stderr


def lorica_logits(work: Path, model, ids: torch.Tensor, *arguments) -> torch.Tensor:
    """Logits [batch, sequence, vocabulary] of `lorica forward`."""
    work = Path(work)
    save_file({"input_ids": ids}, work / "ids.safetensors")
    lorica("forward", "--model", model, "--input", work / "ids.safetensors", "--output", work / "logits.safetensors",
           "--backend", "cpu", *arguments)
    return load_file(work / "logits.safetensors")["logits"]


def train_metrics(folder) -> list[dict]:
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == "train"]


def largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a.double() - b.double()).abs().max().item()
