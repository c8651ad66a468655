"""What a user sees of a run: the progress line on a terminal, the lines elsewhere, the records, and what to type next."""

import fcntl
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import termios

import pytest
import tiny
from conftest import instead

METRICS = (tiny.ROOT / "docs" / "METRICS.md").read_text()


def on_terminal(lorica, columns: int, *arguments) -> str:
    """Everything that the program writes to a terminal of so many columns."""
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([str(lorica.binary), *map(str, arguments)], stdout=terminal, stderr=terminal,
                               env={**lorica.environment, "TERM": "xterm-256color"})
    os.close(terminal)
    written = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        written += piece
    os.close(main)
    assert process.wait(timeout=60) == 0, written.decode(errors="replace")
    return written.decode()


def records(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("columns", [40, 80])
def test_the_line_on_a_terminal_is_whole_and_documented(lorica, training, output, columns):
    text = on_terminal(lorica, columns, *instead(training, "--log_to", "tqdm,tensorboard"), "--max_steps", "8", "--log_every_n_steps",
                       "4", "--eval_fraction", "0.1", "--save_steps", "4")
    drawn = re.findall(r"\r\x1b\[K([^\r\n]*step \d+/8[^\r\n]*)", text)
    assert drawn and all(len(line) < columns for line in drawn), drawn
    assert re.search(r"step 8/8, loss \d+\.\d{4}, 00:00 left", drawn[-1]), drawn[-1]
    assert ("█" in drawn[-1] and "tokens/s" in drawn[-1]) == (columns == 80)
    assert "trainable params: " in text and "|| trainable%: " in text
    assert "checkpoint after step 4" in text and "evaluation before the first step" in text
    # The file: training metrics of every fourth step, speed and memory of all.
    found = records(output)
    assert [r["step"] for r in found if r["kind"] == "train"] == [1, 4, 8]
    assert [r["step"] for r in found if r["kind"] == "system"] == [2, 3, 5, 6, 7]
    assert all(r["timing"]["peak_memory_bytes"] > 0 and r["timing"]["tokens_per_second"] > 0
               for r in found if r["kind"] in ("train", "system"))
    assert found[-1]["kind"] == "end" and found[-1]["timing"]["peak_memory_bytes"] >= found[-2]["timing"].get("peak_memory_bytes", 0)
    for path in output.iterdir():
        name = re.sub(r"-\d+$", "-<step>", path.name) + ("/" if path.is_dir() else "")
        assert f"| `{name}` |" in METRICS, name
    # What it says to type next can be typed.
    plain = re.sub(r"\x1b\[[0-9;]*m|\r", "", text)  # the log's colours end behind its last line
    commands = [shlex.split(line) for line in plain.splitlines() if line.startswith("  lorica ")]
    assert [command[1] for command in commands] == ["generate", "merge", "report"]
    lorica.ok(*commands[0][1:], "--max_new_tokens", "2")
    lorica.ok(*commands[2][1:])


@pytest.mark.parametrize("log_to, lines", [("tensorboard", 2), ("none", 0)])
def test_files_alone_still_show_that_the_run_lives(lorica, training, log_to, lines):
    result = lorica.ok(*instead(training, "--log_to", log_to), "--save_steps", "3")
    assert len(re.findall(r"^step \d+/6, loss ", result.text, re.M)) == lines
    assert ("checkpoint after step 3" in result.text) == (lines > 0)


def test_a_resumed_run_tells_the_time_by_its_own_steps(lorica, training, output):
    lorica.ok(*training, "--max_steps", "3", "--save_steps", "3")
    result = lorica.ok(*training, "--max_steps", "6", "--save_steps", "3", "--resume", "true")
    shown = re.findall(r"^step (\d)/6, .* elapsed 00:00, left 00:00$", result.out, re.M)
    assert shown == ["4", "5", "6"], result.out
    assert [r["step"] for r in records(output) if r["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert [r["step"] for r in records(output) if r["kind"] == "end"] == [6]


def test_report_on_other_things_says_what_to_type(lorica, training, output):
    lorica.ok(*training, "--max_steps", "1")
    assert "1 of 1" in lorica.ok("report", output).out
    for path, needle in ((output / "final", f"lorica report {output}"), (output.parent, f"lorica report {output}"),
                         (output / "absent", "there is no such folder")):
        result = lorica("report", path)
        assert result.code == 2 and needle in result.err, result.text


def test_two_runs_are_compared(lorica, training, output, tmp_path):
    other = tmp_path / "other"
    lorica.ok(*training)
    lorica.ok(*instead(training, "--output_dir", other), "--lr", "2e-3")
    text = lorica.ok("report", output, other).out
    assert re.search(r"^run +out +other$", text, re.M) and re.search(r"^training loss +\d.* \d", text, re.M), text
    differing = text[text.index("options that differ"):]
    assert re.search(r"^lr +0?\.?001.* 0?\.?002", differing, re.M) and "seed" not in differing, differing
    assert (output / "comparison" / "loss.svg").read_text().count("smoothed") == 0  # too short to be smoothed
