"""The peer of the tokenizing rows: Hugging Face's tokenizers. Started by ../run.

    python peers/tokenize_text.py TOKENIZER_FOLDER LINES_JSON [--batch 1000]

encode_batch_fast is its fastest way: a batch at a time on all of RAYON_NUM_THREADS threads, without offsets. A thousand texts to a batch is what `datasets` hands it; all
texts at once were no faster and took over 4 GB. Prints one line of JSON: the seconds of encoding, the number of ids, and Σ id·place modulo 2⁶⁴ over all of them, which
says whether both sides found the same ids. Turning ids into numbers of Python isn't part of the time.
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
parser.add_argument("--batch", type=int, default=1000)
options = parser.parse_args()
tokenizer = Tokenizer.from_file(str(options.folder / "tokenizer.json"))
lines = json.loads(options.lines.read_text())
seconds, ids = 0.0, []
for first in range(0, len(lines), options.batch):
    start = time.perf_counter()
    encodings = tokenizer.encode_batch_fast(lines[first : first + options.batch], add_special_tokens=False)
    seconds += time.perf_counter() - start
    ids += [numpy.asarray(encoding.ids, dtype=numpy.uint64) for encoding in encodings]
ids = numpy.concatenate(ids)
total = int((ids * numpy.arange(1, len(ids) + 1, dtype=numpy.uint64)).sum())
print(json.dumps({"losses": [], "seconds": [seconds], "ids": len(ids), "sum": total}))
