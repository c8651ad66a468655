"""What this machine can do: the frame in which the rows of a comparison stand."""
from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

from measure import HERE, Settings, python, watched

LIMITS = ("float32", "bfloat16", "avx2", "matmul")  # of describe_machine: GFLOP/s
# Prints the best GFLOP/s of torch's float32 product over x·Wᵀ and dy·W at the shapes of a 0.5B model with 512 tokens, and a square one: the speed
# that a program on LibTorch can hope for. A machine that is shared has slow moments: the best of several turns is the machine's own.
MATMUL = """
import json, time, torch
def speed(make, flops):
    best = 0.0
    for turn in range(9):
        start = time.perf_counter(); make(); best = max(best, flops / (time.perf_counter() - start) / 1e9)
    return best
found = {}
for name, tokens, width, out in (("narrow", 512, 896, 896), ("widen", 512, 896, 4864), ("shrink", 512, 4864, 896), ("square", 1024, 1024, 1024)):
    x, w, dy = torch.randn(tokens, width), torch.randn(out, width), torch.randn(tokens, out)
    found[name + " x·Wᵀ"] = speed(lambda: x @ w.T, 2 * tokens * width * out)
    found[name + " dy·W"] = speed(lambda: dy @ w, 2 * tokens * width * out)
print(json.dumps(found))
"""
VERSIONS = """
import importlib.metadata as m, json
names = ("torch", "transformers", "peft", "bitsandbytes", "trl", "tokenizers")
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return "missing"
print(json.dumps({name: version(name) for name in names}))
"""


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    sets = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{name} ({', '.join(sets)})" if sets else name


def run_limit(settings: Settings, *arguments) -> str:
    """What limit.cpp says of multiply-adds that never leave the registers, on the cores of the comparison."""
    program, source = settings.work / "limit", HERE / "limit.cpp"
    if not program.exists() or program.stat().st_mtime < max(file.stat().st_mtime for file in (source, source.with_suffix(".hpp"))):
        subprocess.run([os.environ.get("CXX", "g++"), "-O2", "-std=c++20", "-pthread", source, "-o", program], check=True)
    return watched([program, settings.threads, *arguments], settings).output


def limits(settings: Settings) -> dict[str, float]:
    """GFLOP/s, the best of short turns."""
    found = json.loads(run_limit(settings))
    return found | {"float32": found["avx2"], "bfloat16": 0.0} if settings.avx2 else found


def mean_limit(settings: Settings, seconds: float) -> float:
    """GFLOP/s in float32, the mean over that time."""
    return float(run_limit(settings, seconds, "avx2" if settings.avx2 else "float32"))


def matmul_speed(settings: Settings) -> dict[str, float]:
    return json.loads(watched([python(), "-c", MATMUL], settings).output.splitlines()[-1])


def versions(settings: Settings) -> str:
    own = subprocess.run([settings.build / "lorica", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    others = json.loads(subprocess.run([python(), "-c", VERSIONS], capture_output=True, text=True, check=True).stdout)
    return ", ".join([f"{own} ({commit})" if commit else own, *(f"{name} {version}" for name, version in others.items())])


def describe_machine(settings: Settings) -> dict:
    """name, cores (in use), float32, bfloat16, avx2 (GFLOP/s: the limits), matmul (GFLOP/s), matmul_by_shape, versions, load (of the last minute, before anything here ran)."""
    load = os.getloadavg()[0]
    by_shape = matmul_speed(settings)
    return {"name": processor() + (", used as if it had nothing beyond AVX2" if settings.avx2 else ""), "cores": settings.threads, "load": load} | limits(settings) | {
        "matmul": max(by_shape.values()), "matmul_by_shape": by_shape, "versions": versions(settings)}
