"""The peer of the tokenizing rows: Hugging Face's tokenizers. Started by ../run.

    python peers/tokenize_text.py TOKENIZER_FOLDER LINES_JSON [--passes 3]

encode_batch_fast is its fastest way: a whole batch at a time on all of RAYON_NUM_THREADS threads, without offsets. Prints one line of JSON: the seconds of the best
pass (the first one fills caches, on both sides), the number of ids, and Σ id·place modulo 2⁶⁴ over all of them, which says whether both sides found the same ids.
"""
import argparse
import json
import time
from pathlib import Path

import numpy
from tokenizers import Tokenizer

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folder", type=Path)
parser.add_argument("lines", type=Path)
parser.add_argument("--passes", type=int, default=3)
options = parser.parse_args()
tokenizer = Tokenizer.from_file(str(options.folder / "tokenizer.json"))
lines = json.loads(options.lines.read_text())
best = float("inf")
for _ in range(options.passes):
    start = time.perf_counter()
    encodings = tokenizer.encode_batch_fast(lines, add_special_tokens=False)
    best = min(best, time.perf_counter() - start)
    count = sum(map(len, encodings))
ids = numpy.concatenate([numpy.asarray(encoding.ids, dtype=numpy.uint64) for encoding in encodings])
total = int((ids * numpy.arange(1, len(ids) + 1, dtype=numpy.uint64)).sum())
print(json.dumps({"losses": [], "seconds": [best], "ids": count, "sum": total}))
