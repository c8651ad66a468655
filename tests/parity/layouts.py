"""Runs of one tiny training job in many layouts: the same examples in the same steps, dealt to other numbers of processes, stages and micro-batches."""
from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from models import make_model, sample_text
from runner import lorica

STEPS = 30
# Nothing divides evenly: 321 rows of embedding, projections of 60 and 20 rows, 150 in the middle, by 2 or 4; with blocks of 64 codes even less.
SHAPE = {"layers": 6, "vocabulary": 321, "hidden_size": 60, "intermediate_size": 150, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 20}
THOROUGH = os.environ.get("LORICA_THOROUGH") == "1"


def make_job(folder: Path) -> Path:
    """Two models (their head apart and tied), rows to train on and rows to evaluate on."""
    make_model("llama", folder / "model", **SHAPE)
    make_model("llama", folder / "tied", tied=True, **{**SHAPE, "vocabulary": 320})  # one that divides evenly, for once
    lines = sample_text(600, seed=5)
    rows = [{"prompt": lines[2 * i], "completion": " " + lines[2 * i + 1][: 8 + 13 * i % 50]} for i in range(300)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:288]), encoding="utf-8")
    (folder / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[288:]), encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Job:
    """What is computed: two layouts of equal jobs must give equal numbers."""
    train_type: str = "lora"
    micro_batches: int = 4  # of a step, over all data-parallel processes; 8: with clipping
    flavour: str = "plain"  # packed; extra: embedding and head trained (lora, qlora), or tied (full)
    precision: str = "fp32"
    dropout: str = "0.2"

    def arguments(self, folder: Path) -> list:
        tied = self.flavour == "extra" and self.train_type == "full"
        words = ["train", "--model_name", folder / ("tied" if tied else "model"), "--dataset", folder / "rows.jsonl", "--eval_dataset", folder / "eval.jsonl",
                 "--eval_steps", 15, "--train_type", self.train_type, "--precision", self.precision, "--backend", "cpu", "--batch_size", 1, "--lr", "3e-3",
                 "--max_steps", STEPS, "--context_length", 128, "--log_to", "none", "--threads", 1, "--preview", "false", "--seed", 11,
                 "--apply_gradient_clipping", "true" if self.micro_batches == 8 else "false", "--grad_norm", "1.0",
                 "--packing", "true" if self.flavour == "packed" else "false"]
        if self.train_type != "full":
            words += ["--lora_dropout", self.dropout, "--lora_rank", 5]
            if self.flavour == "extra":
                words += ["--modules_to_save", "embed_tokens,lm_head"]
        return words


@dataclass(frozen=True)
class Layout:
    """How it is computed."""
    stages: int = 1
    data_parallel: int = 1
    strategy: str = "full_shard"
    no_sync: bool = False
    options: tuple = field(default=())  # more words of the command line

    @property
    def processes(self) -> int:
        return self.stages * self.data_parallel

    def arguments(self, job: Job) -> list:
        if job.micro_batches % self.data_parallel:
            raise ValueError(f"{job.micro_batches} micro-batches don't divide among {self.data_parallel} processes")
        words = ["--gradient_accumulation_steps", job.micro_batches // self.data_parallel]
        words += ["--world_size", self.processes, "--sharding_strategy", self.strategy, "--no_sync", "true" if self.no_sync else "false"]
        if self.stages > 1:
            words += ["--pipeline_stages", self.stages]
        if self.strategy.startswith("hybrid"):
            words += ["--hybrid_shard_size", min(2, self.data_parallel)]
        return [*words, *self.options]


@dataclass
class Curve:
    """What a run's metrics.jsonl says that must not depend on the layout."""
    steps: list[dict]
    evaluations: list[dict]

    def __init__(self, output: Path) -> None:
        records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        self.steps = [record for record in records if record["kind"] == "train"]
        self.evaluations = [record for record in records if record["kind"] == "eval"]

    def losses(self) -> list[float]:
        return [step["loss"] for step in self.steps]


def run(folder: Path, output: Path, job: Job, layout: Layout, *more) -> Curve:
    lorica(*job.arguments(folder), "--output_dir", output, *layout.arguments(job), *more)
    return Curve(output)


def relative(a: float, b: float) -> float:
    return abs(a - b) / max(abs(b), 1e-30)


def differences(curve: Curve, reference: Curve) -> dict[str, float]:
    """The largest relative differences of losses, gradient norms and evaluation losses; what is counted must be equal to the digit."""
    assert len(curve.steps) == len(reference.steps) == STEPS
    for ours, theirs in zip(curve.steps, reference.steps):
        for key in ("step", "epoch", "lr", "tokens", "supervised_tokens", "examples"):
            assert ours[key] == theirs[key], f"step {theirs['step']}: {key} is {ours[key]}, of one process {theirs[key]}"
    assert [(e["step"], e["tokens"], e["examples"]) for e in curve.evaluations] == [(e["step"], e["tokens"], e["examples"]) for e in reference.evaluations]
    return {
        "loss": max(relative(a["loss"], b["loss"]) for a, b in zip(curve.steps, reference.steps)),
        "grad_norm": max(relative(a["grad_norm"], b["grad_norm"]) for a, b in zip(curve.steps, reference.steps)),
        "eval": max(relative(a["loss"], b["loss"]) for a, b in zip(curve.evaluations, reference.evaluations)),
    }
