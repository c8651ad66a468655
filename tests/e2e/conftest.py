"""What the end-to-end tests share: the binary, run as a user runs it, and a tiny model with data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import tiny

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT = 600  # seconds: runs here take a few on an idle machine; this ends what hangs on a busy one


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


class Lorica:
    """build/lorica with a clean environment: no network, its caches inside the test's folder. With OMP_WAIT_POLICY set it needn't
    start itself again, which takes as long as loading LibTorch does; test_main_job.py runs it without."""

    def __init__(self, binary: Path, home: Path) -> None:
        self.binary = binary
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "HF_HUB_OFFLINE": "1", "LC_ALL": "C.UTF-8",
            "OMP_WAIT_POLICY": "passive",
        }

    def start(self, *arguments, **options) -> subprocess.Popen:
        command = [str(self.binary), *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                                env=self.environment, **options)

    def __call__(self, *arguments, **options) -> Result:
        process = self.start(*arguments, **options)
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            pytest.fail(f"lorica did not end within {TIMEOUT} s: {arguments}")
        return Result(process.returncode, out, err)

    def ok(self, *arguments, **options) -> Result:
        result = self(*arguments, **options)
        assert result.code == 0, f"exit code {result.code}\n{result.text}"
        return result


@pytest.fixture(scope="session")
def binary() -> Path:
    path = Path(os.environ.get("LORICA_BUILD", ROOT / "build")) / "lorica"
    assert path.exists(), f"{path} is not there: `make build`, or say where with LORICA_BUILD"
    return path


@pytest.fixture
def lorica(binary, tmp_path) -> Lorica:
    home = tmp_path / "home"
    home.mkdir()
    return Lorica(binary, home)


@pytest.fixture(scope="session")
def pristine(made_once) -> Path:
    return made_once("pristine", lambda folder: tiny.make_model(folder, tiny.make_rows(folder / "rows.jsonl")))


@pytest.fixture
def model(pristine, tmp_path) -> Path:
    """A copy that the test may break."""
    return Path(shutil.copytree(pristine / "model", tmp_path / "model"))


@pytest.fixture
def rows(pristine, tmp_path) -> Path:
    return Path(shutil.copy(pristine / "rows.jsonl", tmp_path / "rows.jsonl"))


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def training(model, rows, output) -> list:
    """Arguments of a short run; a test appends what it changes (the last one counts; see `instead`)."""
    return ["train", "--model_name", model, "--dataset", rows, "--output_dir", output, "--train_type", "lora", "--max_steps",
            "6", "--batch_size", "4", "--lora_rank", "4", "--lr", "1e-3", "--precision", "fp32", "--context_length", "64",
            "--log_to", "stdout", "--threads", "1"]


def instead(arguments: list, option: str, value) -> list:
    """The same arguments with another value of an option (of --dataset, a second one would be added to the first)."""
    at = arguments.index(option) + 1
    return [*arguments[:at], value, *arguments[at + 1 :]]


def metrics(folder: Path) -> list[dict]:
    """The training steps that metrics.jsonl records, in file order."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "train"]


def refused(result: Result, *needles: str, output: Path | None = None) -> None:
    """A user's mistake: exit code 2, a message that names each of `needles`, no backtrace, nothing written."""
    assert result.code == 2, f"exit code {result.code}\n{result.text}"
    for needle in needles:
        assert needle in result.err, f"{needle!r} is not in the message:\n{result.err}"
    assert "terminate called" not in result.err and "Exception raised from" not in result.err
    if output is not None:
        assert not output.exists() or not any(output.iterdir()), f"written: {sorted(output.rglob('*'))}"
