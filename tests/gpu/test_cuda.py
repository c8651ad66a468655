"""One process on a CUDA device: the same numbers as on the CPU, a cap on its memory, messages about what is not there."""

import subprocess

import pytest
import torch

from layouts import Job, Layout, make_job, relative, run
from models import build_folder, make_model, random_tokens
from runner import largest, lorica_logits, refused, train_metrics

CUDA = ("--backend", "cuda")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_job(tmp_path_factory.mktemp("job"))


@pytest.mark.parametrize("program, tests", [("test_quant", "*Cuda*"), ("test_parallel", "Nccl*")])
def test_unit_tests_on_the_device_run(program, tests):
    """The dequantizing kernel against its composition; NCCL in a group of one."""
    path = build_folder() / program
    if not path.exists():
        pytest.fail(f"{path} is not built: ninja -C {build_folder()} {program}")
    result = subprocess.run([path, f"--gtest_filter={tests}"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and "SKIPPED" not in result.stdout and "[  PASSED  ]" in result.stdout, result.stdout + result.stderr


# float32 without TF32: the tolerance of tests/parity/test_logits.py, whose reasons hold here, too.
@pytest.mark.parametrize("arguments", [(), ("--n_bits", "4"), ("--n_bits", "4", "--kernels", "reference")], ids=["dense", "nf4", "nf4-composed"])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_logits_equal_the_cpus(tmp_path, family, arguments):
    shape = {"sliding_window": 9} if family == "mistral" else {}
    model = make_model(family, tmp_path / "model", intermediate_size=192, **shape)
    ids = torch.tensor([random_tokens(48, seed=3 + row) for row in range(2)])
    words = ("--precision", "fp32", *arguments)
    assert largest(lorica_logits(tmp_path, model, ids, *words, *CUDA), lorica_logits(tmp_path, model, ids, *words)) <= 1e-4


def test_bfloat16_logits_are_near_those_of_float32(tmp_path):
    model = make_model("llama", tmp_path / "model")
    ids = torch.tensor([random_tokens(48, seed=3)])
    exact = lorica_logits(tmp_path, model, ids, "--precision", "fp32")
    rounded = lorica_logits(tmp_path, model, ids, "--precision", "bf16", *CUDA)
    # Weights and 16 results on the way rounded to 8 bits, at random: a few times 2⁻⁸. (On a CPU it is 3.6 times that.)
    assert (rounded - exact).abs().mean() <= 8 * 2**-8 * exact.abs().mean()


@pytest.mark.parametrize("job, more", [
    (Job("full", flavour="extra"), ("--recompute", "keep")),
    (Job("lora"), ("--recompute", "selective")),
    (Job("qlora"), ("--recompute", "recompute")),
    (Job("qlora", flavour="packed"), ("--recompute", "recompute", "--use_activation_cpu_offload", "true")),
], ids=["full-keep", "lora-selective", "qlora-recompute", "qlora-packed-offload"])
def test_50_steps_follow_the_cpus_loss(folder, tmp_path, job, more):
    words = ("--max_steps", 50, "--save_model", "false", *more)
    here = run(folder, tmp_path / "cuda", job, Layout(), *words, *CUDA).losses()
    there = run(folder, tmp_path / "cpu", job, Layout(), *words).losses()
    assert len(here) == len(there) == 50
    assert max(relative(a, b) for a, b in zip(here, there)) <= 1e-3
    assert sum(here[-5:]) < sum(here[:5]) - 0.1, "nothing was learned: the comparison would be empty"


def test_a_run_saved_on_the_device_goes_on_exactly(folder, tmp_path):
    job = Job("qlora")
    whole = run(folder, tmp_path / "whole", job, Layout(), "--max_steps", 12, *CUDA).losses()
    run(folder, tmp_path / "parts", job, Layout(), "--max_steps", 6, "--save_steps", 6, *CUDA)
    parts = run(folder, tmp_path / "parts", job, Layout(), "--max_steps", 12, "--resume", "true", *CUDA).losses()
    # Sums over atomic additions may differ in their last bits.
    assert max(relative(a, b) for a, b in zip(parts, whole)) <= 1e-5


def test_memory_is_measured_and_capped(folder, tmp_path):
    job = Job("qlora")
    run(folder, tmp_path / "fits", job, Layout(), "--max_steps", 2, "--device_memory_limit", "2GiB", *CUDA)
    for step in train_metrics(tmp_path / "fits"):
        reserved = step["timing"]["peak_memory_bytes"]
        assert 0 < reserved <= 2 << 30
        assert 0 < step["timing"]["peak_allocated_bytes"] <= reserved
    arguments = [*job.arguments(folder), *Layout().arguments(job), *CUDA]
    message = refused(*arguments, "--output_dir", tmp_path / "tight", "--device_memory_limit", "12MiB")
    assert "out of memory" in message and "device_memory_limit" in message, message
    assert not list((tmp_path / "tight").glob("checkpoint-*")) and not (tmp_path / "tight" / "final").exists()
    assert "more than the" in refused(*arguments, "--output_dir", tmp_path / "huge", "--device_memory_limit", "100000GiB")


def test_a_device_that_is_not_there_is_named(folder, tmp_path, monkeypatch):
    job = Job("lora")
    arguments = [*job.arguments(folder), *Layout().arguments(job), "--output_dir", tmp_path / "out", *CUDA]
    assert "device 99: there is no such CUDA device" in refused(*arguments, "--device", 99)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "no CUDA device is visible" in refused(*arguments)
