"""Rows without a peer: shares of what the machine can do, proportions, and the time to the first step.

Each function takes (settings, machine, rounds) and returns {"what", "measured", "bar", "faults", …}. Contestants of one row run in turn, round after round.
"""
from __future__ import annotations

import json
import shutil
import statistics
import subprocess
from typing import Callable

from flops import step_flops
from machine import mean_limit
from measure import HERE, Measurement, Settings, python, recomputes, train_with_lorica
from rows import FLOAT32_COMPUTE, NF4, RANK
from shape import config_of

LIMIT_SECONDS = 4.0  # about as long as a step
SHARE_BAR = 0.75  # of the cores' FMA limit
WITHIN = 0.10  # of proportional
START_BAR = 3.0  # seconds
FEW, SOME, MANY = 3, 12, 24  # layers: MANY is 8 times FEW
SHORT, MIDDLE, LONG = 512, 1024, 2048  # tokens: LONG is 4 times SHORT


def dummy_model(settings: Settings, layers: int):
    """A folder with no weights in it: --load_format dummy draws seeded ones of config.json's shape."""
    folder = settings.work / f"dummy-{layers}"
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for path in (settings.work / "model").glob("tokenizer*"):
            shutil.copy(path, folder)
        (folder / "config.json").write_text(json.dumps(config_of(layers)))
    return folder


def long_data(settings: Settings, tokens: int) -> str:
    """rows.jsonl with its rows joined until each is longer than `tokens`."""
    name = f"rows-{tokens}.jsonl"
    texts = [json.loads(line)["text"] for line in (settings.work / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    each = -(-tokens // 512)  # a row has more than 512 tokens
    joined = [" ".join(texts[i : i + each]) for i in range(0, len(texts) - each + 1, each)]
    (settings.work / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in joined), encoding="utf-8")
    return name


def qlora_step(settings: Settings, *arguments, tokens: int = 512, layers: int | None = None) -> Measurement:
    """QLoRA in Lorica's default policy: on the model of the rows, or on one without files that has `layers` layers."""
    model = ["--lora_rank", RANK, "--load_format", "dummy"] if layers else ["--adapter", settings.work / "adapter"]
    return train_with_lorica(settings, *model, *NF4, *FLOAT32_COMPUTE, *arguments, steps=settings.steps, tokens=tokens, model=dummy_model(settings, layers) if layers else None,
                             data=long_data(settings, tokens))


def flops_share(tokens: int) -> Callable[[Settings, dict, int], dict]:
    def measure(settings: Settings, machine: dict, rounds: int) -> dict:
        seconds, limit, command = [], [], ""
        for _ in range(rounds):
            before = mean_limit(settings, LIMIT_SECONDS)
            run = qlora_step(settings, tokens=tokens)
            limit.append(max(before, mean_limit(settings, LIMIT_SECONDS)))
            seconds.append(run.time())
            command = run.command
        return judge_flops(tokens, settings.layers, seconds, recomputes(settings), limit, command)

    return measure


def judge_flops(tokens: int, layers: int, seconds: list[float], recomputed: bool, limit: list[float], command: str) -> dict:
    """flops.py's count of what the step does, its recomputation included, ÷ the step's time ÷ the limit of its round in GFLOP/s; the median of the rounds."""
    flops = step_flops(config_of(layers), [tokens], rank=RANK, recomputed=recomputed)
    speeds = [flops / each / 1e9 for each in seconds]
    share = statistics.median(speed / most for speed, most in zip(speeds, limit, strict=True))
    faults = [] if share >= SHARE_BAR else [f"{share:.0%} of the limit, the bar is {SHARE_BAR:.0%}"]
    how = "layers recomputed" if recomputed else "nothing recomputed"
    return {"what": f"matrix FLOPs of a QLoRA step of {tokens} tokens ÷ time, as a share of the cores' FMA limit in float32",
            "measured": f"{share:.0%}: {statistics.median(speeds):.0f} of {statistics.median(limit):.0f} GFLOP/s, {flops / 1e12:.2f} TFLOP a step ({how})", "bar": f"≥ {SHARE_BAR:.0%}", "faults": faults,
            "share": share, "seconds": seconds, "limits": limit, "flops": flops, "command": command}


def layers_share(settings: Settings, machine: dict, rounds: int) -> dict:
    seconds: dict[int, list[float]] = {FEW: [], SOME: [], MANY: []}
    for _ in range(rounds):
        for layers in seconds:
            seconds[layers].append(qlora_step(settings, layers=layers).time())
    return judge_layers({layers: statistics.median(each) for layers, each in seconds.items()}, seconds)


def judge_layers(step: dict[int, float], seconds: dict | None = None) -> dict:
    """What doesn't depend on the layers (embedding, head, update) is the constant of the line through FEW and SOME; without it, MANY must take MANY ÷ FEW times as long as FEW."""
    constant = step[FEW] - FEW * (step[SOME] - step[FEW]) / (SOME - FEW)
    ratio = (step[MANY] - constant) / (step[FEW] - constant) / (MANY / FEW)
    faults = [] if abs(ratio - 1) <= WITHIN else [f"{ratio:.2f} of proportional, {1 - WITHIN:.1f} to {1 + WITHIN:.1f} is allowed"]
    times = ", ".join(f"{layers} layers {each:.3f} s" for layers, each in step.items())
    return {"what": f"time of a step at {MANY // FEW} × the layers, less what doesn't depend on them ({constant:.3f} s), ÷ {MANY // FEW} × the time at {FEW} layers",
            "measured": f"{ratio:.2f} ({times})", "bar": f"1 ± {WITHIN:.1f}", "faults": faults, "ratio": ratio, "seconds": seconds}


def length_share(settings: Settings, machine: dict, rounds: int) -> dict:
    peaks: dict[int, list[int]] = {SHORT: [], MIDDLE: [], LONG: []}
    for _ in range(rounds):
        for tokens in peaks:
            peaks[tokens].append(qlora_step(settings, "--recompute", "recompute", tokens=tokens).peak)
    return judge_length({tokens: statistics.median(each) for tokens, each in peaks.items()}, peaks)


def judge_length(peak: dict[int, float], peaks: dict | None = None) -> dict:
    """Memory that grows with the length is what is above the line's constant: from MIDDLE to LONG (twice as many more tokens) it must grow twice as much as from SHORT to MIDDLE."""
    first, then = peak[MIDDLE] - peak[SHORT], peak[LONG] - peak[MIDDLE]
    ratio = then / first / ((LONG - MIDDLE) / (MIDDLE - SHORT)) if first > 0 else float("inf")
    faults = [] if abs(ratio - 1) <= WITHIN else [f"{ratio:.2f} of proportional, {1 - WITHIN:.1f} to {1 + WITHIN:.1f} is allowed"]
    sizes = ", ".join(f"{tokens} tokens {each / 1e6:,.0f} MB" for tokens, each in peak.items())
    return {"what": f"peak memory with --recompute recompute: bytes a token from {MIDDLE} to {LONG} tokens ÷ those from {SHORT} to {MIDDLE}", "measured": f"{ratio:.2f} ({sizes})",
            "bar": f"1 ± {WITHIN:.1f}", "faults": faults, "ratio": ratio, "peaks": peaks}


def start_share(settings: Settings, machine: dict, rounds: int) -> dict:
    quantized = settings.work / "model-nf4"
    if not quantized.exists():
        subprocess.run([python(), HERE / "peers" / "quantize.py", settings.work / "model", quantized], check=True, stderr=subprocess.DEVNULL)
    runs = [train_with_lorica(settings, "--adapter", settings.work / "adapter", *NF4, *FLOAT32_COMPUTE, steps=1, model=quantized) for _ in range(rounds)]
    return judge_start([run.facts["start"] for run in runs], runs[0].command)


def judge_start(starts: list[dict], command: str) -> dict:
    """All rows of the data have one length, so that the first step is itself the trial of the heaviest micro-batch; with others, that trial comes before it."""
    first, ready, load = (statistics.median(start[key] for start in starts) for key in ("first_step_seconds", "ready_seconds", "load_seconds"))
    faults = [] if first <= START_BAR else [f"{first:.2f} s, the bar is {START_BAR:g} s"]
    return {"what": "from the start of the process until its first step begins, prequantized checkpoint, rows of one length",
            "measured": f"{first:.2f} s (data, model and plan ready after {ready:.2f} s, loading {load:.2f} s of it)", "bar": f"≤ {START_BAR:g} s", "faults": faults, "starts": starts,
            "command": command}


SHARES = {"flops-512": flops_share(512), "flops-2048": flops_share(2048), "layers": layers_share, "length": length_share, "start": start_share}
