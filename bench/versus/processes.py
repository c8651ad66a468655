"""Runs a command and watches the peak resident memory of each process below it, whoever starts them."""
from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Watched:
    command: str
    output: str  # standard output and error
    seconds: float
    high_water: dict[int, int] = field(default_factory=dict)  # bytes by process id, the command itself included

    def peaks(self, count: int) -> list[int]:
        """Of the `count` largest processes: the workers, not their launcher."""
        return sorted(self.high_water.values(), reverse=True)[:count]


def _parents() -> dict[int, int]:
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            pass  # it ended meanwhile
    return parents


def _family(root: int) -> set[int]:
    parents, family, grown = _parents(), {root}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return family


def _high_water(process: int) -> int:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0
    return int(found.group(1)) * 1024 if found else 0


def run_watched(command: list, environment: dict[str, str], timeout: float = 3600) -> Watched:
    """Raises SystemExit with the command's output unless it exits with 0."""
    words = [str(word) for word in command]
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=environment)
        high_water: dict[int, int] = {}
        while process.poll() is None:
            for each in _family(process.pid):
                high_water[each] = max(high_water.get(each, 0), _high_water(each))
            if time.monotonic() - start > timeout:
                process.kill()
            time.sleep(0.2)
        log.seek(0)
        output = log.read()
    if process.returncode != 0:
        raise SystemExit(f"{shlex.join(words)}\nexit code {process.returncode}\n{output[-4000:]}")
    return Watched(shlex.join(words), output, time.monotonic() - start, high_water)
