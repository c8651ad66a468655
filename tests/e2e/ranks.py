"""Runs of several processes, seen from outside: who they are, and how they end."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import TIMEOUT, Result, metrics

THOROUGH = os.environ.get("LORICA_THOROUGH") == "1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def variables_of(process: int) -> dict[str, str]:
    try:
        content = Path(f"/proc/{process}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(entry.partition("=")[::2] for entry in content.split("\0") if "=" in entry)


def children_by_rank(launcher: int) -> dict[int, int]:
    """The processes that a launcher has started, by rank."""
    try:
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    except OSError:
        return {}
    return {int(rank): int(child) for child in children if (rank := variables_of(int(child)).get("RANK"))}


def alive(process: int) -> bool:
    """Not counting one that has ended and waits for its parent to notice."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def steps_done(folder: Path) -> int:
    try:
        return max((record["step"] for record in metrics(folder)), default=0)
    except (OSError, ValueError):
        return 0  # not there yet, or its last line is half written


def wait_until(condition, seconds: float = TIMEOUT) -> bool:
    end = time.monotonic() + seconds
    while not (done := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return bool(done)


def wait_for_step(process: subprocess.Popen, folder: Path, step: int) -> None:
    assert wait_until(lambda: steps_done(folder) >= step or process.poll() is not None)
    if process.poll() is not None:
        pytest.fail(f"it ended before step {step}: {process.communicate()}")


def ended(process: subprocess.Popen, seconds: float = TIMEOUT) -> Result:
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"it didn't end within {seconds} s: {process.communicate()}")
    return Result(process.returncode, out, err)


def error_lines(result: Result) -> list[str]:
    return [line for line in result.err.splitlines() if line.startswith("error: ")]


def is_quiet(result: Result) -> bool:
    """No word of libraries: no backtrace, no warning of c10d."""
    return not any(word in result.err for word in ("terminate called", "Exception raised", "c10d", "frame #"))


@dataclass
class Separate:
    """Processes that a foreign launcher has started: no common parent that would stop them."""

    processes: list[subprocess.Popen]

    def results(self, seconds: float = TIMEOUT) -> list[Result]:
        end = time.monotonic() + seconds
        try:
            return [ended(process, max(0.1, end - time.monotonic())) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()


def start_separately(lorica, arguments, count: int, change=lambda rank, variables, words: None, wrap=None, **master) -> Separate:
    """As torchrun does. `change` may alter one process's variables and words; wrap(rank, command) its command."""
    variables = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
                 **{name.upper(): str(value) for name, value in master.items()}}
    processes = []
    for rank in range(count):
        own, words = variables | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, [str(word) for word in arguments]
        change(rank, own, words)
        command = [str(lorica.binary), *words]
        processes.append(subprocess.Popen(wrap(rank, command) if wrap else command, stdout=subprocess.PIPE,
                                          stderr=subprocess.PIPE, text=True, env=lorica.environment | own))
    return Separate(processes)
