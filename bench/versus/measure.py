"""One run of a contestant: the command that starts it, and what it reports."""
from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

from processes import run_watched

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LR = 1e-4


@dataclass
class Settings:
    build: Path
    work: Path
    cores: list[int]
    steps: int
    examples: int
    layers: int = 24
    corpus: Path = Path()  # what the tokenizing rows read
    avx2: bool = False  # as if this CPU had nothing beyond AVX2

    @property
    def threads(self) -> int:
        return len(self.cores)


@dataclass
class Measurement:
    seconds: list[float]  # of each step; of the whole, if there is one number
    losses: list[float]
    peak: int  # bytes, resident
    command: str
    units: float = 0  # tokens, examples, bytes: of one step, or of the whole
    flops: float = 0  # of one step, as mathematics needs them; 0: not counted
    facts: dict = field(default_factory=dict)

    def time(self) -> float:
        """Of a step: the first one warms up."""
        return statistics.median(self.seconds[1:] or self.seconds)


def python() -> str:
    own = ROOT / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


# What keeps LibTorch's own kernels, oneDNN and MKL from newer instructions. bitsandbytes' CPU code asks nobody; it keeps them.
NO_MORE_THAN_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def environment(settings: Settings, more: dict[str, str] | None = None) -> dict[str, str]:
    threads = str(settings.threads)
    return os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"} | (
        NO_MORE_THAN_AVX2 if settings.avx2 else {}) | (more or {})


def watched(command: list, settings: Settings, more: dict[str, str] | None = None):
    """On the cores of the comparison and no others."""
    return run_watched(["taskset", "-c", ",".join(map(str, settings.cores)), *command], environment(settings, more))


def train_command(build: Path, model: Path, data: Path, output: Path, threads: int, tokens: int) -> list:
    """`lorica train` into an empty folder, on whole rows in their order, with nothing saved."""
    shutil.rmtree(output, ignore_errors=True)
    return [build / "lorica", "train", "--model_name", model, "--dataset", data, "--output_dir", output, "--backend", "cpu", "--threads", threads, "--context_length", tokens,
            "--train_on", "all", "--shuffle", "false", "--lora_dropout", "0", "--lr", LR, "--save_model", "false", "--log_to", "none", "--preview", "false"]


def steps_in(output: Path) -> list[dict]:
    """The records of a run's steps."""
    return [row for row in map(json.loads, (output / "metrics.jsonl").read_text().splitlines()) if row["kind"] == "train"]


def train_with_lorica(settings: Settings, *arguments, steps: int | None = None, model: Path | None = None, data: str = "rows.jsonl", tokens: int = 512) -> Measurement:
    """`lorica train` with nothing logged, evaluated or saved in between. Facts: `start`, how it came to its first step."""
    output = settings.work / "out"
    command = train_command(settings.build, model or settings.work / "model", settings.work / data, output, settings.threads, tokens)
    result = watched([*command, *(["--max_steps", steps] if steps else []), *(["--kernels", "avx2"] if settings.avx2 else []), *arguments], settings)
    rows = steps_in(output)
    return Measurement([row["timing"]["step_seconds"] for row in rows], [row["loss"] for row in rows], max(result.peaks(1)), result.command, tokens,
                       facts={"start": rows[0]["timing"]["start"]})


def recomputes(settings: Settings) -> bool:
    """Whether the last run of Lorica recomputed its layers: the record of its first step says so."""
    return says_recompute((settings.work / "out" / "metrics.jsonl").read_text())


def says_recompute(metrics: str) -> bool:
    return json.loads(metrics.splitlines()[0])["timing"]["start"]["recompute"] == "recompute"


def run_python_peer(settings: Settings, script: str, *arguments) -> Measurement:
    """peers/<script>, which prints its report as one line of JSON."""
    result = watched([python(), HERE / "peers" / script, *arguments], settings)
    report = json.loads(next(line for line in result.output.splitlines() if line.startswith('{"losses"')))
    return Measurement(report.pop("seconds"), report.pop("losses"), max(result.peaks(1)), result.command, facts=report)


def worst_difference(ours: list[float], theirs: list[float]) -> float:
    """Relative, of the losses of each step."""
    if len(ours) != len(theirs):
        raise SystemExit(f"{len(ours)} losses against {len(theirs)}")
    return largest(abs(a - b) / abs(b) for a, b in zip(ours, theirs))


def largest(values) -> float:
    """NaN if one of them is: max() would pass over it."""
    values = list(values)
    return math.nan if any(math.isnan(value) for value in values) else max(values, default=0.0)
