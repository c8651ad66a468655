"""Trains a byte-level BPE tokenizer on the demo's texts and writes it in Hugging Face's format.

usage: make_tokenizer.py --input corpus.jsonl train.jsonl … --output-dir DIR [--vocabulary N]
Standard library only. The split is GPT-2's, restricted to ASCII, which is all that the demo's texts hold; the tokenizer
itself takes any text, since all 256 bytes are in its vocabulary.
"""

from __future__ import annotations

import argparse
import collections
import json
import re
from pathlib import Path

END = "<|end|>"
SPLIT = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")
# The sentences around an instruction, so that they take few tokens.
TEMPLATE = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n### Instruction:\n\n### Input:\n\n### Response:"
)


def byte_letters() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(printable))
    return letters


def word_counts(files: list[str]) -> collections.Counter:
    letters, counts = byte_letters(), collections.Counter()
    texts = [TEMPLATE] * 1000
    for name in files:
        with open(name, encoding="utf-8") as file:
            for line in file:
                texts.extend(value for value in json.loads(line).values() if value)
    pieces = collections.Counter(piece for text in texts for piece in SPLIT.findall(text))
    for piece, count in pieces.items():
        counts["".join(letters[byte] for byte in piece.encode())] += count
    return counts


def train(counts: collections.Counter, merge_count: int) -> list[tuple[str, str]]:
    """The merges of byte-pair encoding: each time the most frequent neighbours, ties by their text."""
    words = [(list(word), count) for word, count in counts.items()]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for index, (symbols, count) in enumerate(words):
        for pair in zip(symbols, symbols[1:]):
            pairs[pair] += count
            where[pair].add(index)
    merges = []
    while pairs and len(merges) < merge_count:
        best = max(pairs.items(), key=lambda item: (item[1], item[0]))[0]
        if pairs[best] < 2:
            break
        merges.append(best)
        for index in where.pop(best):
            symbols, count = words[index]
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] -= count
                if pairs[pair] <= 0:
                    del pairs[pair]
            symbols[:] = merged(symbols, best)
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += count
                where[pair].add(index)
    return merges


def merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    result, index = [], 0
    while index < len(symbols):
        if index + 1 < len(symbols) and (symbols[index], symbols[index + 1]) == pair:
            result.append(symbols[index] + symbols[index + 1])
            index += 2
        else:
            result.append(symbols[index])
            index += 1
    return result


def write(folder: Path, merges: list[tuple[str, str]]) -> None:
    vocabulary = {END: 0}
    for token in [*sorted(byte_letters().values()), *(left + right for left, right in merges)]:
        vocabulary.setdefault(token, len(vocabulary))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": 0, "content": END, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True}],
        "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocabulary, "merges": [" ".join(pair) for pair in merges]},
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": END,
              "model_max_length": 512, "clean_up_tokenization_spaces": False}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", nargs="+", required=True)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--vocabulary", type=int, default=2048)
    options = parser.parse_args()
    write(options.output_dir, train(word_counts(options.input), options.vocabulary - 257))


if __name__ == "__main__":
    main()
