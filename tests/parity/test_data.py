"""The data layer against the tokenizers, numpy and pyarrow libraries run live, and against masks computed here in a second way."""
import json
import random
import subprocess
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from models import tool
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

BOS, EOS = "<s>", "</s>"
IGNORED = -100
PREAMBLE = "Below is an instruction that describes a task"
WITH_INPUT = (PREAMBLE + ", paired with an input that provides further context. Write a response that appropriately completes the "
              "request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:")
WITHOUT_INPUT = (PREAMBLE + ". Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n"
                 "### Response:")
WORDS = "the model learns a table of numbers, Größe 12 日本 and\nlines\ttabs 🙂 select from where".split(" ")


def text(rng, low, high):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A byte-level BPE that puts BOS before every text, in a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    rng = random.Random(0)
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[BOS, EOS], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    model.train_from_iterator([text(rng, 5, 30) for _ in range(300)] + [WITH_INPUT], trainer)
    model.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, model.token_to_id(BOS))])
    model.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": BOS, "eos_token": EOS}))
    return model, folder


def call(**request):
    result = subprocess.run([tool("data_table")], input=json.dumps(request, default=str), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def example(model, prompt, answer, limit=512):
    """The whole text tokenized once, as TRL does; a token with a character of the answer or of EOS carries loss. Labels are shifted by
    one, and all is cut at `limit`."""
    encoding = model.encode(prompt + answer + EOS)
    labels = [token if end > len(prompt) else IGNORED for token, (_, end) in zip(encoding.ids, encoding.offsets, strict=True)]
    return {"tokens": encoding.ids[:limit], "labels": labels[1:limit] + [IGNORED]}


def alpaca_rows(count):
    rng = random.Random(1)
    return [{"instruction": text(rng, 2, 9), "input": rng.choice(["", text(rng, 1, 9)]), "output": text(rng, 1, 40)}
            for _ in range(count)]


def alpaca_prompt(row):
    return (WITH_INPUT if row["input"] else WITHOUT_INPUT).format(**row)


def write_rows(folder, kind, rows):
    path = folder / f"rows.{kind}"
    if kind == "json":
        path.write_text(json.dumps(rows, indent=1))
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    elif kind == "parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=37)
    elif kind == "arrow":
        with pa.ipc.new_stream(path, pa.Table.from_pylist(rows).schema) as stream:
            stream.write_table(pa.Table.from_pylist(rows), max_chunksize=29)
    return path


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet", "arrow"])
def test_alpaca_template_and_mask(tokenizer, tmp_path, kind):
    model, folder = tokenizer
    rows = alpaca_rows(120)
    path = write_rows(tmp_path, kind, rows)
    for source in ({"dataset": "alpaca", "path": path}, {"dataset": path}):
        reply = call(tokenizer=folder, **source)
        assert reply["examples"] == [example(model, alpaca_prompt(row), row["output"]) for row in rows]


def sentencepiece_like(kind):
    """BPE over "▁" for spaces with single bytes for the rest, as Llama 2's tokenizer.json has it ("▁" put before every text) or as newer
    ones do (before the first)."""
    rng = random.Random(0)
    model = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    model.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", False)
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>", BOS, EOS] + [f"<0x{b:02X}>" for b in range(256)])
    model.train_from_iterator([text(rng, 5, 30) for _ in range(200)] + [WITH_INPUT], trainer)
    data = json.loads(model.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if not token["content"].startswith("<0x")]
    if kind == "llama2":
        data["pre_tokenizer"] = None
        data["normalizer"] = {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    model = Tokenizer.from_str(json.dumps(data))
    model.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, model.token_to_id(BOS))])
    return model


@pytest.mark.parametrize("kind", ["byte-level", "llama2", "first"])
def test_ids_are_trls(tokenizer, tmp_path, kind):
    """TRL tokenizes prompt + completion + EOS, and masks as many tokens as the prompt alone has. Ids must be equal; masks are wherever the
    prompt's tokens are the beginning of the whole text's. Where they aren't, TRL warns and masks or trains one token too many."""
    if kind == "byte-level":
        model, folder = tokenizer
    else:
        model, folder = sentencepiece_like(kind), tmp_path
        model.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": BOS, "eos_token": EOS}))
    rng = random.Random(4)
    edges = [("def f(x):\n    ", "return x"), ("Q: hi\nA:", " ho ho"), ("### Answer:\n", "Hello there"), ("a ", " b"), ("Größ", "e\n"),
             ("x", ""), ("wo", "rds</s>"), ("</s> x", "日本")]
    edges += [(text(rng, 1, 6) + rng.choice(["", " ", "\n", ":", "."]), rng.choice(["", " ", "\n"]) + text(rng, 1, 6)) for _ in range(200)]
    rows = [{"prompt": prompt, "completion": completion} for prompt, completion in edges]
    got = call(tokenizer=folder, dataset=write_rows(tmp_path, "jsonl", rows))["examples"]
    same = 0
    for (prompt, completion), ours in zip(edges, got, strict=True):
        ids = model.encode(prompt + completion + ("" if completion.endswith(EOS) else EOS)).ids
        masked = model.encode(prompt).ids
        assert ours["tokens"] == ids, (prompt, completion)
        labels = ours["labels"][-1:] + ours["labels"][:-1]
        if ids[:len(masked)] == masked:
            same += 1
            assert labels == [IGNORED] * len(masked) + ids[len(masked):], (prompt, completion)
        elif completion not in ("", EOS):
            first = next(i for i, label in enumerate(labels) if label != IGNORED)
            assert model.encode(prompt + completion).offsets[first][1] > len(prompt), (prompt, completion)
    assert len(edges) // 2 < same


@pytest.mark.parametrize("limit", [40, 64])
def test_truncation_is_counted(tokenizer, tmp_path, limit):
    model, folder = tokenizer
    rows = [{"prompt": row["instruction"], "completion": row["output"]} for row in alpaca_rows(200)]
    reply = call(tokenizer=folder, dataset=write_rows(tmp_path, "jsonl", rows), context_length=limit)
    whole = [example(model, row["prompt"], row["completion"], 10**6) for row in rows]
    cut = [example(model, row["prompt"], row["completion"], limit) for row in rows]
    kept = [e for e in cut if any(label != IGNORED for label in e["labels"])]
    report = reply["report"]
    assert reply["examples"] == kept
    assert report["truncated"]["count"] == sum(len(e["tokens"]) > limit for e in whole) > 0
    assert report["tokens_cut"] == sum(max(0, len(e["tokens"]) - limit) for e in whole)
    assert report["unsupervised"]["count"] == len(cut) - len(kept)
    assert report["supervised"] == sum(label != IGNORED for e in kept for label in e["labels"])
    assert report["longest_row"] == max(len(e["tokens"]) for e in whole)


def test_messages_from_parquet(tokenizer, tmp_path):
    model, folder = tokenizer
    rng = random.Random(2)
    rows = [{"messages": [{"role": role, "content": text(rng, 1, 9)}
                          for role in ["system"] * (i % 2) + ["user", "assistant"] * (1 + i % 3)]} for i in range(40)]
    reply = call(tokenizer=folder, dataset=write_rows(tmp_path, "parquet", rows))
    heads = {"system": "### System:\n", "user": "### User:\n", "assistant": "### Assistant:\n"}
    for row, got in zip(rows, reply["examples"], strict=True):
        whole, spans = "", []
        for turn in row["messages"]:
            whole += heads[turn["role"]]
            begin = len(whole)
            whole += turn["content"] + (EOS if turn["role"] == "assistant" else "\n\n")
            if turn["role"] == "assistant":
                spans.append((begin, len(whole)))
        encoding = model.encode(whole)
        labels = [token if any(begin < b and a < end for a, b in spans) else IGNORED
                  for token, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True)]
        assert got == {"tokens": encoding.ids, "labels": labels[1:] + [IGNORED]}


@pytest.mark.parametrize("seed", [0, 1, 42, 2**31, 2**40 + 3])
@pytest.mark.parametrize("count", [1, 2, 10, 1000, 70001])
def test_permutations_are_numpys(seed, count):
    assert call(permutation=count, seed=seed)["permutation"] == np.random.default_rng(seed).permutation(count).tolist()


def test_named_selections(tokenizer, tmp_path):
    model, folder = tokenizer
    rng = random.Random(3)
    rows = [{"context": text(rng, 1, 3), "question": text(rng, 2, 5), "answer": f"{i} {text(rng, 1, 5)}"} for i in range(1050)]
    path = write_rows(tmp_path, "parquet", rows)
    sql = call(tokenizer=folder, dataset="sql", path=path, seed=7)["examples"]
    chosen = [rows[i] for i in np.random.default_rng(7).permutation(len(rows))[1000:]]
    prompt = "###Context:\n{context}\n###Question:\n{question}\n###Answer:\n"
    assert sql == [example(model, prompt.format(**row), row["answer"]) for row in chosen]
    orca = call(tokenizer=folder, dataset="orca_math", path=path, seed=7, dataset_samples=20)["examples"]
    chosen = [rows[i] for i in np.random.default_rng(42).permutation(len(rows))[:20]]
    prompt = "###Question:\n{question}\n###Answer:\n"
    assert orca == [example(model, prompt.format(**row), row["answer"]) for row in chosen]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_packed_batches_hold_the_unpacked_examples(tokenizer, tmp_path, batch_size):
    """Row 9, the batch side: packing only chooses neighbours."""
    _, folder = tokenizer
    path = write_rows(tmp_path, "jsonl", alpaca_rows(150))
    reply = {packing: call(tokenizer=folder, dataset=path, context_length=256,
                           sampler={"batch_size": batch_size, "accumulation": 2, "packing": packing, "epochs": 2})
             for packing in (False, True)}

    def sequences(steps):
        for batch in (batch for step in steps for batch in step):
            for index, (begin, end) in enumerate(zip(batch["offsets"], batch["offsets"][1:], strict=False)):
                assert batch["positions"][begin:end] == list(range(end - begin))
                yield (batch["examples"][index], tuple(batch["input_ids"][begin:end]), tuple(batch["labels"][begin:end]))

    plain, packed = (Counter(sequences(reply[packing]["steps"])) for packing in (False, True))
    assert plain == packed
    assert set(plain.values()) == {2} and len(plain) == 150
    sizes = [len(batch["input_ids"]) for step in reply[True]["steps"] for batch in step]
    assert max(sizes) <= 256 * batch_size
    assert len(reply[True]["steps"]) < len(reply[False]["steps"]) or batch_size == 4
