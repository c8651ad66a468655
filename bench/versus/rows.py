"""The rows of the comparison: who runs, with what, and which bar the ratio must pass."""
from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Callable

from measure import Measurement, Settings, run_python_peer, train_with_lorica

# Kept in the file's 16 bits, computed in float32: the peer's numbers, since the file holds no others.
FLOAT32_COMPUTE = ["--precision", "bf16", "--compute_dtype", "float32", "--lora_weight_dtype", "float32"]
NF4 = ["--train_type", "qlora", "--n_bits", 4, "--quant_type", "nf4", "--double_quant", "true"]

Contestant = Callable[[Settings], Measurement]


@dataclass
class Row:
    what: str
    ours: Contestant
    peer: Contestant
    peer_is: str
    speed: float | None = None  # the least of our speed ÷ the peer's
    memory: float | None = None  # the most of our peak ÷ the peer's
    unit: str = "tokens"
    loss_tolerance: float = 1e-4  # relative, at every step


def lorica(*arguments, adapter: bool = True, tokens: int = 512) -> Contestant:
    def run(settings: Settings) -> Measurement:
        start = ["--adapter", settings.work / "adapter"] if adapter else []
        return train_with_lorica(settings, *start, *arguments, steps=settings.steps, tokens=tokens)

    return run


def peft(*arguments, tokens: int = 512) -> Contestant:
    return lambda settings: run_python_peer(settings, "peft_train.py", "--steps", settings.steps, "--tokens", tokens, *arguments, units=tokens)


def lorica_instructions(settings: Settings) -> Measurement:
    """One epoch, 8 examples to a step. Seconds are summed: batches differ in length."""
    result = train_with_lorica(settings, "--adapter", settings.work / "adapter", *NF4, *FLOAT32_COMPUTE, "--batch_size", 8, "--num_epochs", 1, tokens=1024,
                               data=examples_file(settings))
    return Measurement([sum(result.seconds)], result.losses, result.peak, result.command, settings.examples)


def examples_file(settings: Settings) -> str:
    lines = (settings.work / "instructions.jsonl").read_text(encoding="utf-8").splitlines()[: settings.examples]
    name = f"instructions-{len(lines)}.jsonl"
    (settings.work / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return name


def trl(*arguments) -> Contestant:
    def run(settings: Settings) -> Measurement:
        result = run_python_peer(settings, "trl_train.py", "--examples", settings.examples, *arguments)
        return Measurement([sum(result.seconds)], result.losses, result.peak, result.command, settings.examples, result.facts)

    return run


def lorica_load(settings: Settings) -> Measurement:
    """Loading is what the log of a run of one step on two tokens says it took."""
    start = time.monotonic()
    result = train_with_lorica(settings, *NF4, *FLOAT32_COMPUTE, steps=1, tokens=2)
    folder = settings.work / "out"
    timing = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    loading = timing["load_seconds"] if "load_seconds" in timing else time.monotonic() - start
    return Measurement([loading], [], result.peak, result.command, 988_097_824)


def peft_load(settings: Settings) -> Measurement:
    result = run_python_peer(settings, "peft_train.py", "--mode", "qlora", "--load-only")
    return Measurement([result.facts["load_seconds"]], [], result.peak, result.command, 988_097_824, result.facts)


ROWS = {
    "qlora-recompute": Row("QLoRA NF4, double quantization, float32 compute, 512 tokens, every layer recomputed on both sides", lorica(*NF4, *FLOAT32_COMPUTE, "--recompute", "recompute"),
                           peft("--mode", "qlora"), "PEFT + bitsandbytes, checkpointing", speed=1.25),
    "qlora": Row("the same, Lorica's default policy", lorica(*NF4, *FLOAT32_COMPUTE), peft("--mode", "qlora"), "PEFT + bitsandbytes, checkpointing", speed=1.75, memory=0.35),
    "qlora-keep": Row("the same, against a peer that keeps its activations", lorica(*NF4, *FLOAT32_COMPUTE), peft("--mode", "qlora", "--no-checkpointing"),
                      "PEFT + bitsandbytes, no checkpointing"),
    "qlora-bf16": Row("QLoRA NF4, default precision on both sides", lorica(*NF4), peft("--mode", "qlora", "--compute", "bfloat16"), "PEFT + bitsandbytes, bfloat16, checkpointing",
                      speed=6.0, loss_tolerance=2e-2),
    "lora": Row("LoRA without quantization, float32 compute", lorica("--train_type", "lora", *FLOAT32_COMPUTE), peft("--mode", "lora"), "PEFT, float32, checkpointing",
                speed=1.7, memory=0.6),
    "full": Row("full fine-tuning, AdamW, float32", lorica("--train_type", "full", "--precision", "fp32", adapter=False), peft("--mode", "full"),
                "transformers, float32, checkpointing", speed=1.3, memory=0.7),
    "load": Row("load a 16-bit checkpoint and quantize it to NF4 with double quantization", lorica_load, peft_load, "transformers + bitsandbytes", speed=10.0, memory=0.5, unit="bytes"),
    "instructions": Row("QLoRA on instruction data (median 100 tokens, long tail), batch 8, one epoch", lorica_instructions, trl(), "TRL SFTTrainer, padded", speed=3.5, unit="examples"),
    "instructions-packed": Row("the same against TRL's packing", lorica_instructions, trl("--packing"), "TRL SFTTrainer, packing=True", unit="examples", loss_tolerance=float("inf")),
}
