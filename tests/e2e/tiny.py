"""A model and data small enough that a training run takes a second, made from seeded numbers with the standard library
and the demo's generators. No peer library is needed."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = ROOT / "demo"
WORDS = "lamp rope cup book key shoe drum ring coin box pen hat".split()


def make_rows(path: Path, count: int = 64) -> Path:
    """Alpaca rows whose answers are copied words, of varying length."""
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            words = [WORDS[(number * step + step) % len(WORDS)] for step in range(1, 2 + number % 4)]
            row = {"instruction": "Write the last word.", "input": " ".join(words), "output": " " + words[-1]}
            file.write(json.dumps(row) + "\n")
    return path


def make_model(folder: Path, rows: Path) -> Path:
    """A Llama of two layers, 64 wide, with a byte-level tokenizer trained on `rows`: about 150,000 parameters."""
    for script, arguments in (
        ("make_tokenizer.py", ["--input", rows, "--output-dir", folder, "--vocabulary", "384"]),
        ("make_base.py", ["--tokenizer-dir", folder, "--output-dir", folder / "model", "--hidden", "64", "--layers", "2"]),
    ):
        subprocess.run([sys.executable, DEMO / script, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return folder / "model"


class Safetensors:
    """A safetensors file taken apart, so that a test can break it in one place and write it back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = path.read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        self.header = json.loads(content[8 : 8 + length])
        self.data = bytearray(content[8 + length :])

    def tensor(self, name: str) -> dict:
        return self.header[name]

    def overwrite(self, name: str, offset: int, content: bytes) -> None:
        begin = self.header[name]["data_offsets"][0] + offset
        self.data[begin : begin + len(content)] = content

    def write(self, header_length: int | None = None) -> None:
        text = json.dumps(self.header).encode()
        length = len(text) if header_length is None else header_length
        self.path.write_bytes(struct.pack("<Q", length) + text + bytes(self.data))
