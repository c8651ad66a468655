"""Lorica's tokenizer beside the Python `tokenizers`, same texts, same run, one thread each (and all threads for encode_batch).

    python bench/tokenizer/versus_tokenizers.py [--build build] [--mebibytes 8]

Both sides get a list of lines; times are the best of five passes. The ratio is Lorica's speed over the other's.
"""
import argparse
import os
import platform
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "parity"))


def theirs(folder, strings, threads):
    """In a process of its own, so that the number of threads can be set before the library starts any."""
    code = ("import sys,time,json\nfrom tokenizers import Tokenizer\nt=Tokenizer.from_file(sys.argv[1])\n"
            "lines=json.load(open(sys.argv[2]))\nbest=1e9\nfor _ in range(5):\n s=time.perf_counter()\n"
            " r=t.encode_batch_fast(lines,add_special_tokens=False)\n best=min(best,time.perf_counter()-s)\n"
            "print(best,sum(len(e) for e in r))\n")
    import json
    path = folder / "lines.json"
    path.write_text(json.dumps(strings))
    env = os.environ | {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false" if threads == 1 else "true"}
    out = subprocess.run([sys.executable, "-c", code, folder / "tokenizer.json", path], env=env, capture_output=True, text=True, check=True)
    seconds, count = out.stdout.split()
    return float(seconds), int(count)


def ours(tool, folder, strings, threads):
    path = folder / "texts.bin"
    data = [s.encode() for s in strings]
    path.write_bytes(b"".join(struct.pack("<I", len(t)) + t for t in data))
    out = subprocess.run([tool, "time", folder, path, str(threads)], capture_output=True, text=True, check=True)
    seconds, count, _ = out.stdout.split()
    return float(seconds), int(count)


def texts(mebibytes):
    """Prose and code in the proportions of a fine-tuning data set, without the parity tests' pathological lines."""
    import random

    import tokenizer_texts
    r = random.Random(5)
    lines, size = [], 0
    while size < mebibytes << 20:
        line = "".join(r.choice((tokenizer_texts.prose, tokenizer_texts.prose, tokenizer_texts.code))(r) + " " for _ in range(8))
        lines.append(line)
        size += len(line.encode())
    return lines, size


def real_text(mebibytes):
    """The Python library's own sources: code and English as people write it, with a long tail of words."""
    lines, size = [], 0
    for path in sorted(Path(os.__file__).parent.rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        for start in range(0, len(text), 2000):
            lines.append(text[start:start + 2000])
            size += len(lines[-1].encode())
        if size >= mebibytes << 20:
            break
    return lines, size


def tokenizers_to_compare():
    import test_tokenizer
    import tokenizer_texts
    corpus = tokenizer_texts.corpus() + real_text(2)[0]
    for name in ("gpt2", "llama3", "qwen2", "tekken", "cl100k-possessive"):
        yield name, test_tokenizer.byte_level(corpus, test_tokenizer.BYTE_LEVEL[name](), size=16_000)
    from tokenizers import pre_tokenizers
    yield "metaspace (Llama 2)", test_tokenizer.metaspace_bpe(corpus, pre_tokenizers.Metaspace("▁", "first", False))
    yield "unigram", test_tokenizer.unigram(tokenizer_texts.corpus())
    try:
        from transformers.integrations.mistral.tokenizer import MistralConverter
        yield "tekken 131k (published)", MistralConverter(str(test_tokenizer.mistral_data() / "tekken_240911.json")).converted()
    except ImportError:
        print("mistral_common is not installed: no published vocabulary in this run")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.environ.get("LORICA_BUILD", "build"))
    parser.add_argument("--mebibytes", type=int, default=8)
    args = parser.parse_args()
    tool = (ROOT / args.build / "tools" / "tokenize_lines").resolve()
    cores = len(os.sched_getaffinity(0))
    print(f"{' '.join(sys.argv)}; {platform.processor() or platform.machine()}, {cores} cores")
    for kind, (strings, size) in (("generated", texts(args.mebibytes)), ("Python sources", real_text(args.mebibytes))):
        print(f"\n{kind}: {size / 2**20:.1f} MiB in {len(strings)} texts")
        print(f"{'tokenizer':26} {'threads':>7} {'ours MiB/s':>11} {'theirs MiB/s':>13} {'ratio':>7}")
        for name, tokenizer in tokenizers_to_compare():
            with tempfile.TemporaryDirectory() as folder:
                folder = Path(folder)
                tokenizer.save(str(folder / "tokenizer.json"))
                for threads in sorted({1, cores}):
                    a, count_a = ours(tool, folder, strings, threads)
                    b, count_b = theirs(folder, strings, threads)
                    assert count_a == count_b, (name, count_a, count_b)
                    print(f"{name:26} {threads:7} {size / a / 2**20:11.1f} {size / b / 2**20:13.1f} {b / a:7.2f}", flush=True)


if __name__ == "__main__":
    start = time.time()
    main()
    print(f"\n{time.time() - start:.0f} s")
