"""Two processes that share one CUDA device: their tensors travel through host memory, and their curve is one process's."""

import pytest

from layouts import Job, Layout, differences, make_job, run
from runner import refused

SHARED = ("--backend", "cuda", "--device", "0")
# Sums of float32 in another order, and atomic additions, through 30 steps of Adam.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_job(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def reference(folder):
    """The curve of one process on the device, run once for each job."""
    curves = {}

    def of(job):
        if job not in curves:
            curves[job] = run(folder, folder / f"reference-{len(curves)}", job, Layout(), "--save_model", "false", *SHARED)
        return curves[job]

    return of


@pytest.mark.parametrize("job, layout", [
    (Job("qlora"), Layout(1, 2, "full_shard")),
    (Job("full"), Layout(1, 2, "shard_grad_op", no_sync=True)),
    (Job("lora"), Layout(1, 2, "ddp")),
    (Job("lora"), Layout(1, 2, "hybrid_full_shard")),
    (Job("qlora"), Layout(2, 1)),
    (Job("lora", micro_batches=8), Layout(2, 1, options=("--pipeline_interleave", "2"))),
], ids=["full_shard-qlora", "shard_grad_op-full", "ddp-lora", "hybrid-lora", "pipeline-qlora", "interleaved-lora"])
def test_two_processes_on_one_device_equal_one(folder, tmp_path, reference, job, layout):
    found = differences(run(folder, tmp_path / "out", job, layout, "--save_model", "false", *SHARED), reference(job))
    assert all(value <= TOLERANCE for value in found.values()), found


def test_what_two_processes_saved_is_loaded_by_one(folder, tmp_path):
    job = Job("qlora")
    run(folder, tmp_path / "out", job, Layout(1, 2), "--max_steps", 6, "--save_steps", 6, *SHARED)
    resumed = run(folder, tmp_path / "out", job, Layout(), "--max_steps", 8, "--resume", "true", *SHARED)
    assert [step["step"] for step in resumed.steps] == list(range(1, 9))


def test_sharing_a_device_must_be_asked_for(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    job = Job("lora")
    message = refused(*job.arguments(folder), *Layout(1, 2).arguments(job), "--output_dir", tmp_path / "out", "--backend", "cuda")
    assert "on the same CUDA device" in message and "--device" in message
