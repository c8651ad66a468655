"""The rows of the comparison: who runs, with what, and which bar the ratio must pass."""
from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Callable

from flops import step_flops
from measure import HERE, Measurement, Settings, python, recomputes, run_python_peer, train_with_lorica, watched
from shape import config_of

# Kept in the file's 16 bits, computed in float32: the peer's numbers, since the file holds no others.
FLOAT32_COMPUTE = ["--precision", "bf16", "--compute_dtype", "float32", "--lora_weight_dtype", "float32"]
NF4 = ["--train_type", "qlora", "--n_bits", 4, "--quant_type", "nf4", "--double_quant", "true"]
RANK = 16  # of prepare.py's adapter
CONTEXT = 1024  # of the instruction data: longer than its longest example

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
    loss_tolerance: float | None = 1e-4  # relative, at every step; None: there are no losses to compare
    same: tuple[str, ...] = ()  # facts that must be equal on both sides


def step_of(settings: Settings, tokens: int, full: bool = False) -> float:
    """FLOPs of a step as mathematics needs them: nothing twice, whatever a side computes again. The same numerator for both."""
    return step_flops(config_of(settings.layers), [tokens], rank=0 if full else RANK, full=full)


def lorica(*arguments, full: bool = False, tokens: int = 512) -> Contestant:
    def run(settings: Settings) -> Measurement:
        start = [] if full else ["--adapter", settings.work / "adapter"]
        result = train_with_lorica(settings, *start, *arguments, steps=settings.steps, tokens=tokens)
        result.flops = step_of(settings, tokens, full)
        result.facts["recomputes"] = recomputes(settings)
        return result

    return run


def peft(*arguments, full: bool = False, tokens: int = 512) -> Contestant:
    def run(settings: Settings) -> Measurement:
        result = run_python_peer(settings, "peft_train.py", settings.work, "--steps", settings.steps, "--tokens", tokens, *arguments)
        result.units, result.flops = tokens, step_of(settings, tokens, full)
        return result

    return run


def lorica_instructions(settings: Settings) -> Measurement:
    """One epoch, 8 examples to a step. Seconds are summed: batches differ in length."""
    result = train_with_lorica(settings, "--adapter", settings.work / "adapter", *NF4, *FLOAT32_COMPUTE, "--batch_size", 8, "--num_epochs", 1, tokens=CONTEXT,
                               data=examples_file(settings))
    result.units, result.seconds = settings.examples, [sum(result.seconds)]
    return result


def examples_file(settings: Settings) -> str:
    lines = (settings.work / "instructions.jsonl").read_text(encoding="utf-8").splitlines()[: settings.examples]
    name = f"instructions-{len(lines)}.jsonl"
    (settings.work / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return name


def trl(*arguments) -> Contestant:
    def run(settings: Settings) -> Measurement:
        result = run_python_peer(settings, "trl_train.py", settings.work, "--examples", settings.examples, *arguments)
        result.units, result.seconds = settings.examples, [sum(result.seconds)]
        return result

    return run


def model_bytes(settings: Settings) -> int:
    return (settings.work / "model" / "model.safetensors").stat().st_size


def lorica_load(settings: Settings) -> Measurement:
    """What the first record of a run says of its loading, the adapter included: from an open configuration to a model in memory, and the peak until then."""
    result = train_with_lorica(settings, "--adapter", settings.work / "adapter", *NF4, *FLOAT32_COMPUTE, steps=1, tokens=2)
    start = result.facts["start"]
    return Measurement([start["load_seconds"]], [], start["loaded_peak_bytes"], result.command, model_bytes(settings), facts=result.facts)


def peft_load(settings: Settings) -> Measurement:
    """From the end of the imports to the end of from_pretrained, and the peak until then."""
    result = run_python_peer(settings, "peft_train.py", settings.work, "--mode", "qlora", "--load-only")
    return Measurement([result.facts["load_seconds"]], [], result.facts["loaded"], result.command, model_bytes(settings), facts=result.facts)


def corpus(settings: Settings) -> dict:
    """100 MB of text and two tokenizers, made once."""
    subprocess.run([python(), HERE / "corpus.py", settings.corpus], check=True, stderr=subprocess.DEVNULL)
    return json.loads((settings.corpus / "facts.json").read_text())


def lorica_tokenize(name: str) -> Contestant:
    def run(settings: Settings) -> Measurement:
        """One pass over all texts, from a cold start, as a run makes it."""
        size = corpus(settings)["bytes"]
        result = watched([settings.build / "tools" / "tokenize_lines", "time", settings.corpus / name, settings.corpus / "texts.bin", settings.threads, 1], settings)
        seconds, ids, total = result.output.split()
        return Measurement([float(seconds)], [], max(result.peaks(1)), result.command, size, facts={"ids": int(ids), "sum": int(total)})

    return run


def tokenizers_tokenize(name: str) -> Contestant:
    def run(settings: Settings) -> Measurement:
        size = corpus(settings)["bytes"]
        result = run_python_peer(settings, "tokenize_text.py", settings.corpus / name, settings.corpus / "lines.json")
        result.units = size
        return result

    return run


def tokenizing(name: str, what: str) -> Row:
    return Row(f"100 MB of text, all cores, {what}", lorica_tokenize(name), tokenizers_tokenize(name), "tokenizers, encode_batch_fast", speed=1.0, unit="bytes",
               loss_tolerance=None, same=("ids", "sum"))


PEFT_NF4 = "PEFT + bitsandbytes, checkpointing"
ROWS = {
    "qlora-recompute": Row("QLoRA NF4, double quantization, float32 compute, 512 tokens, every layer recomputed on both sides", lorica(*NF4, *FLOAT32_COMPUTE, "--recompute", "recompute"),
                           peft("--mode", "qlora"), PEFT_NF4, speed=1.25),
    "qlora": Row("the same, Lorica's default policy", lorica(*NF4, *FLOAT32_COMPUTE), peft("--mode", "qlora"), PEFT_NF4, speed=1.75, memory=0.35),
    "qlora-keep": Row("the same, against a peer that keeps its activations", lorica(*NF4, *FLOAT32_COMPUTE), peft("--mode", "qlora", "--no-checkpointing"),
                      "PEFT + bitsandbytes, no checkpointing"),
    # Both round to bfloat16, at different places: 2^-8 of relative rounding in every product, summed over the depth.
    "qlora-bf16": Row("QLoRA NF4, default precision on both sides", lorica(*NF4), peft("--mode", "qlora", "--compute", "bfloat16"), "PEFT + bitsandbytes, bfloat16, checkpointing",
                      speed=6.0, loss_tolerance=2e-2),
    "lora": Row("LoRA without quantization, float32 compute", lorica("--train_type", "lora", *FLOAT32_COMPUTE), peft("--mode", "lora"), "PEFT, float32, checkpointing",
                speed=1.7, memory=0.6),
    "full": Row("full fine-tuning, AdamW, float32", lorica("--train_type", "full", "--precision", "fp32", full=True), peft("--mode", "full", full=True),
                "transformers, float32, checkpointing", speed=1.3, memory=0.7),
    "load": Row("load a 16-bit checkpoint and quantize it to NF4 with double quantization", lorica_load, peft_load, "transformers + bitsandbytes", speed=10.0, memory=0.5, unit="bytes",
                loss_tolerance=None),
    "instructions": Row("QLoRA on instruction data (median 100 tokens, long tail), batch 8, one epoch", lorica_instructions, trl(), "TRL SFTTrainer, padded", speed=3.5, unit="examples"),
    # TRL cuts its packed rows at other places: there are fewer steps, whose losses have no counterpart.
    "instructions-packed": Row("the same against TRL's packing", lorica_instructions, trl("--packing"), "TRL SFTTrainer, packing=True", unit="examples", loss_tolerance=None),
    "tokenize": tokenizing("trained", "a byte-level BPE with Qwen2's pattern"),
    "tokenize-published": tokenizing("published", "Mistral's Tekken (131,072 entries)"),
}
