"""What the tokenizing rows read: 100 MB of text, and two tokenizers. Started by run, once; a folder that is complete is left alone.

usage: corpus.py FOLDER [--megabytes 100]

The text is what is at hand of text that people wrote: Python's and its packages' sources (code, English documentation, many languages in tables and tests), cut into
pieces of 2,000 characters; where that is less than asked for, generated prose and code of the parity tests' vocabulary follow. `lines.json` and `texts.bin` hold the same pieces.
`trained/`: a byte-level BPE of 32,000 entries with Qwen2's pattern, trained on a part of it. `published/`: Mistral's Tekken, 131,072 entries, as mistral-common carries it.
"""
from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "parity"))
PIECE = 2000


def written_by_people(most: int) -> list[str]:
    pieces, size = [], 0
    folders = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")]
    for path in sorted({path for folder in folders for path in folder.rglob("*.py")}):
        text = path.read_text(encoding="utf-8", errors="replace")
        for start in range(0, len(text), PIECE):
            pieces.append(text[start : start + PIECE])
            size += len(pieces[-1].encode())
            if size >= most:
                return pieces
    return pieces


def generated(least: int) -> list[str]:
    import tokenizer_texts

    draw, pieces, size = random.Random(5), [], 0
    while size < least:
        pieces.append("".join(draw.choice((tokenizer_texts.prose, tokenizer_texts.prose, tokenizer_texts.code))(draw) + " " for _ in range(8)))
        size += len(pieces[-1].encode())
    return pieces


def write_tokenizers(folder: Path, sample: list[str]) -> None:
    import test_tokenizer
    from transformers.integrations.mistral.tokenizer import MistralConverter

    for name in ("trained", "published"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    test_tokenizer.byte_level(sample, test_tokenizer.BYTE_LEVEL["qwen2"](), size=32_000).save(str(folder / "trained" / "tokenizer.json"))
    published = MistralConverter(str(test_tokenizer.mistral_data() / "tekken_240911.json")).converted()
    published.save(str(folder / "published" / "tokenizer.json"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=int, default=100)
    options = parser.parse_args()
    stamp, made_with = options.folder / "made_with.json", json.dumps({"megabytes": options.megabytes})
    if stamp.exists() and stamp.read_text() == made_with:
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    most = options.megabytes * 1_000_000
    pieces = written_by_people(most)
    size = sum(len(piece.encode()) for piece in pieces)
    pieces += generated(most - size)
    write_tokenizers(options.folder, pieces[::40])
    data = [piece.encode() for piece in pieces]
    (options.folder / "lines.json").write_text(json.dumps(pieces))
    (options.folder / "texts.bin").write_bytes(b"".join(struct.pack("<I", len(piece)) + piece for piece in data))
    (options.folder / "facts.json").write_text(json.dumps({"bytes": sum(map(len, data)), "pieces": len(pieces), "written_by_people": size}))
    stamp.write_text(made_with)


if __name__ == "__main__":
    main()
