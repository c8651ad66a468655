"""Checkpoints don't know how many processes wrote them: what four saved, one, two or three go on from, in any strategy and any split, and the curve continues.
What a run leaves in the end is what one process leaves: one PEFT folder, or one model folder."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, TIMEOUT, Lorica, metrics

sys.path.insert(0, str(ROOT / "tests" / "parity"))

STEPS, SAVED_AT, MICRO_BATCHES = 20, 10, 12  # 12 micro-batches divide among 1, 2, 3 and 4 processes
TYPES = {"lora": ["--lora_rank", "5", "--lora_dropout", "0.1"], "qlora": ["--lora_rank", "5", "--lora_dropout", "0.1", "--modules_to_save", "lm_head"], "full": []}


def processes(count: int, *words) -> list:
    """Options of a run on so many data-parallel processes."""
    return ["--world_size", str(count), "--gradient_accumulation_steps", str(MICRO_BATCHES // count), *words]


def stages(count: int, data_parallel: int, *words) -> list:
    return ["--world_size", str(count * data_parallel), "--pipeline_stages", str(count), "--gradient_accumulation_steps", str(MICRO_BATCHES // data_parallel), *words]


LAYOUTS = {
    "one": processes(1),
    "two-full-shard": processes(2),
    "two-ddp": processes(2, "--sharding_strategy", "ddp"),
    "three-shard-grad-op": processes(3, "--sharding_strategy", "shard_grad_op", "--no_sync", "true"),
    "four-hybrid": processes(4, "--sharding_strategy", "hybrid_full_shard", "--hybrid_shard_size", "2"),
    "two-stages": stages(2, 1),
    "three-stages-by-parameters": stages(3, 1, "--partition_method", "parameters"),
    "two-stages-of-two": stages(2, 2, "--sharding_strategy", "full_shard"),
}


def make_job(folder: Path) -> None:
    from models import make_model, sample_text

    make_model("llama", folder / "model", layers=4, vocabulary=321, hidden_size=60, intermediate_size=150, num_attention_heads=3, num_key_value_heads=1, head_dim=20)
    lines = sample_text(300, seed=6)
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": line[: 20 + 7 * number % 40]}) + "\n" for number, line in enumerate(lines)), encoding="utf-8")


class Job:
    """A tiny model of uneven sizes with its data, and the runs of it."""

    def __init__(self, folder: Path, lorica: Lorica) -> None:
        self.folder, self.model, self.lorica = folder, folder / "model", lorica

    def arguments(self, train_type: str, output: Path, *words) -> list:
        return ["train", "--model_name", self.model, "--dataset", self.folder / "rows.jsonl", "--output_dir", output, "--train_type", train_type, "--precision", "fp32",
                "--backend", "cpu", "--threads", "1", "--batch_size", "1", "--lr", "3e-3", "--lr_scheduler", "cosine", "--max_steps", str(STEPS), "--save_steps",
                str(SAVED_AT), "--context_length", "64", "--log_to", "none", "--preview", "false", *TYPES[train_type], *words]

    def train(self, train_type: str, output: Path, *words) -> Path:
        self.lorica.ok(*self.arguments(train_type, output, *words))
        return output


@pytest.fixture(scope="module")
def job(made_once, tmp_path_factory, binary) -> Job:
    return Job(made_once("layouts", make_job), Lorica(binary, tmp_path_factory.mktemp("home")))


def whole_runs(made_once, job: Job, name: str, count: int):
    """A run on `count` processes to its end, once for each type, with its checkpoint of half way."""
    return lambda train_type: made_once(f"layouts-{name}-{train_type}", lambda folder: job.train(train_type, folder / "out", *processes(count))) / "out"


@pytest.fixture(scope="module")
def by_four(made_once, job):
    return whole_runs(made_once, job, "four", 4)


@pytest.fixture(scope="module")
def by_one(made_once, job):
    return whole_runs(made_once, job, "one", 1)


def losses(folder: Path) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in metrics(folder)}


def half_way(run: Path, to: Path) -> Path:
    """The run's folder as it was after the checkpoint of half way."""
    shutil.copytree(run, to)
    for gone in ("final", f"checkpoint-{STEPS}"):
        shutil.rmtree(to / gone)
    records = [line for line in (to / "metrics.jsonl").read_text().splitlines(True) if json.loads(line)["step"] <= SAVED_AT]
    (to / "metrics.jsonl").write_text("".join(records))
    return to


def continues(curve: dict[int, float], whole: dict[int, float]) -> None:
    assert sorted(curve) == list(range(1, STEPS + 1))
    worst = max(abs(curve[step] - whole[step]) / whole[step] for step in whole)
    assert worst <= 1e-5, f"the curves differ by {worst}: {[(step, curve[step], whole[step]) for step in sorted(whole)][SAVED_AT:]}"


@pytest.mark.parametrize("train_type, layout", [*(("lora", name) for name in LAYOUTS), ("qlora", "one"), ("qlora", "three-shard-grad-op"), ("qlora", "two-stages"),
                                                ("full", "one"), ("full", "two-ddp"), ("full", "three-stages-by-parameters")])
def test_what_four_saved_others_go_on_from(job, by_four, tmp_path, train_type, layout):
    whole = by_four(train_type)
    output = half_way(whole, tmp_path / "out")
    job.train(train_type, output, *LAYOUTS[layout], "--resume", "latest")
    continues(losses(output), losses(whole))


@pytest.mark.parametrize("train_type, first", [("lora", "one"), ("full", "two-stages-of-two"), ("qlora", "three-stages-by-parameters")])
def test_what_others_saved_four_go_on_from(job, by_four, tmp_path, train_type, first):
    saved = job.train(train_type, tmp_path / "saved", *LAYOUTS[first])
    output = half_way(saved, tmp_path / "out")
    job.train(train_type, output, *processes(4), "--resume", "latest")
    continues(losses(output), losses(by_four(train_type)))


def tensors(folder: Path) -> dict:
    from safetensors.torch import load_file

    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def same_model(ours: Path, theirs: Path) -> None:
    """Files and tensor names are equal, values up to the order of additions (30 updates of 1e-3 each; Adam divides by small roots)."""
    assert sorted(path.name for path in ours.iterdir()) == sorted(path.name for path in theirs.iterdir())
    a, b = tensors(ours), tensors(theirs)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape
        assert (a[name] - b[name]).abs().max() <= 1e-4 * max(1, b[name].abs().max().item()), name


@pytest.fixture
def token_ids():
    import torch
    from models import random_tokens

    return torch.tensor([random_tokens(30, seed=row) for row in range(2)])


@pytest.mark.parametrize("layout", [processes(4), stages(3, 1)], ids=["four-processes", "three-stages"])
def test_the_adapter_is_one_peft_folder(job, by_one, tmp_path, token_ids, layout):
    import peft
    import torch
    from models import load_model
    from runner import largest, lorica_logits

    final = job.train("lora", tmp_path / "out", *layout) / "final"
    same_model(final, by_one("lora") / "final")
    base = load_model(job.model)
    with torch.no_grad():
        plain = base(token_ids).logits
        expected = peft.PeftModel.from_pretrained(base, final)(token_ids).logits
    got = lorica_logits(tmp_path, job.model, token_ids, "--adapter", final, "--precision", "fp32")
    assert largest(plain, expected) > 1e-2, "the adapter changes nothing"
    assert largest(got, expected) <= 1e-5 * expected.abs().max().item()


@pytest.mark.parametrize("layout", [processes(4), stages(2, 2)], ids=["four-processes", "two-stages-of-two"])
def test_full_fine_tuning_leaves_one_model_folder(job, by_one, tmp_path, token_ids, layout):
    import torch
    from models import load_model
    from runner import largest, lorica_logits

    final = job.train("full", tmp_path / "out", *layout) / "final"
    same_model(final, by_one("full") / "final")
    with torch.no_grad():
        expected = load_model(final)(token_ids).logits
        assert largest(load_model(job.model)(token_ids).logits, expected) > 1e-2, "nothing was trained"
    assert largest(lorica_logits(tmp_path, final, token_ids, "--precision", "fp32"), expected) <= 1e-5 * expected.abs().max().item()


def kill_in_mid_write(job: Job, arguments: list, output: Path, after: int) -> bool:
    """Kills the launcher, and with it its processes, as soon as a checkpoint behind step `after` is being written. False if the run ended first."""
    process = job.lorica.start(*arguments)
    before = {path.name for path in output.iterdir()} if output.exists() else set()
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        begun = {path.name for path in output.iterdir()} - before if output.exists() else set()
        if any(name.startswith(".checkpoint-") for name in begun) and reached(output) >= after:
            process.kill()
            break
    process.communicate(timeout=TIMEOUT)
    return process.returncode == -signal.SIGKILL


def whole_checkpoints(output: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("checkpoint-")) for path in output.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit())


def reached(output: Path) -> int:
    return max(whole_checkpoints(output), default=0)


def test_killed_while_several_write_a_checkpoint(job, by_four, tmp_path):
    """The former checkpoint is whole; the run goes on from it, on two processes this time, as if nothing had happened."""
    output = tmp_path / "out"
    arguments = [*job.arguments("lora", output, *processes(4)), "--save_steps", "1", "--save_total_limit", "0"]
    killed = 0
    for after in (2, 6, 10):
        killed += kill_in_mid_write(job, [*arguments, *(["--resume", "latest"] if whole_checkpoints(output) else [])], output, after)
        saved = whole_checkpoints(output)
        assert saved == list(range(1, len(saved) + 1)), "a checkpoint is missing"
    assert killed >= 2, "the runs ended before they could be killed"
    assert len(whole_checkpoints(output)) < STEPS
    job.train("lora", output, *processes(2), "--resume", "latest")
    continues(losses(output), losses(by_four("lora")))
    leftovers = [path.name for path in output.iterdir() if path.name.startswith(".")]
    assert not leftovers, "what the killed processes left half written is still there"


def test_a_checkpoint_that_lacks_a_piece_is_passed_over(job, by_four, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(by_four("full"), output)
    shutil.rmtree(output / "final")
    pieces = sorted((output / f"checkpoint-{STEPS}").glob("state-*.safetensors"))
    assert len(pieces) == 4
    pieces[2].unlink()
    result = job.lorica.ok(*job.arguments("full", output, *processes(2)), "--resume", "latest")
    assert f"checkpoint-{STEPS}" in result.text, "the incomplete checkpoint isn't named"
    continues(losses(output), losses(by_four("full")))
