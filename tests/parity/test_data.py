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
    """Prompt and answer tokenized apart, BOS before and EOS after, labels shifted by one, cut at `limit`."""
    before = model.encode(prompt).ids
    after = model.encode(answer, add_special_tokens=False).ids + [model.token_to_id(EOS)]
    tokens = (before + after)[:limit]
    labels = ([IGNORED] * len(before) + after)[:limit]
    return {"tokens": tokens, "labels": labels[1:] + [IGNORED]}


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


def test_mask_differs_from_two_tokenizations_at_the_edge_only(tokenizer, tmp_path):
    """fsdp_qlora tokenizes the prompt and the whole text; ours must be that up to the token at the edge."""
    model, folder = tokenizer
    rows = alpaca_rows(120)
    ours = call(tokenizer=folder, dataset=write_rows(tmp_path, "json", rows))["examples"]
    for row, got in zip(rows, ours, strict=True):
        whole = model.encode(alpaca_prompt(row) + row["output"]).ids + [model.token_to_id(EOS)]
        masked = len(model.encode(alpaca_prompt(row)).ids)
        assert abs(len(whole) - len(got["tokens"])) <= 1
        assert got["tokens"][:masked - 1] == whole[:masked - 1]
        assert model.decode(got["tokens"]) == model.decode(whole)


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
        tokens, trained, plain = [model.token_to_id(BOS)], [False], ""

        def add(piece, loss):
            tokens.extend(piece)
            trained.extend([loss] * len(piece))

        for turn in row["messages"]:
            plain += heads[turn["role"]]
            if turn["role"] != "assistant":
                plain += turn["content"] + "\n\n"
                continue
            add(model.encode(plain, add_special_tokens=False).ids, False)
            add(model.encode(turn["content"], add_special_tokens=False).ids + [model.token_to_id(EOS)], True)
            plain = ""
        labels = [token if loss else IGNORED for token, loss in zip(tokens, trained, strict=True)]
        assert got == {"tokens": tokens, "labels": labels[1:] + [IGNORED]}


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
