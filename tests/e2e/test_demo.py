"""The demo, as `make demo` runs it, and the data that it generates."""

import json
import os
import re
import subprocess
import sys

import pytest
import tiny


def generate(folder, script, *arguments):
    subprocess.run([sys.executable, tiny.DEMO / script, *map(str, arguments)], check=True, cwd=folder)


def test_heldout_questions_are_not_in_the_training_rows(tmp_path):
    generate(tmp_path, "make_instructions.py", "--output-dir", tmp_path)
    train, heldout = ([(row["instruction"], row["input"]) for row in map(json.loads, (tmp_path / name).open())]
                      for name in ("train.jsonl", "heldout.jsonl"))
    assert len(heldout) >= 100 and len(set(heldout)) > 90
    assert not set(train) & set(heldout)


def test_the_corpus_never_shows_the_instruction_format(tmp_path):
    generate(tmp_path, "make_corpus.py", "--output", tmp_path / "corpus.jsonl", "--documents", "500")
    text = (tmp_path / "corpus.jsonl").read_text()
    assert "Instruction" not in text and "Response" not in text


def test_generated_texts_are_the_same_every_time(tmp_path):
    for name in ("first.jsonl", "second.jsonl"):
        generate(tmp_path, "make_corpus.py", "--output", tmp_path / name, "--documents", "300")
    assert (tmp_path / "first.jsonl").read_bytes() == (tmp_path / "second.jsonl").read_bytes()


@pytest.mark.parametrize("answers, code", [(["a", " b "], 0), (["a", "b."], 1), (["a"], 2)])
def test_exact_match_is_exact(tmp_path, answers, code):
    questions = [{"instruction": "i", "input": "", "output": output} for output in (" a", " b")]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, questions)))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"completion": answer}) for answer in answers))
    result = subprocess.run([sys.executable, tiny.DEMO / "evaluate.py", "--questions", tmp_path / "q.jsonl", "--answers",
                             f"after={tmp_path / 'a.jsonl'}", "--require", "after:min:90"], capture_output=True, text=True)
    assert result.returncode == code, result.stdout + result.stderr


@pytest.mark.slow
def test_the_demo_learns(binary, tmp_path):
    environment = {**os.environ, "LORICA": str(binary), "LORICA_DEMO_DIR": str(tmp_path), "HOME": str(tmp_path)}
    result = subprocess.run([tiny.ROOT / "scripts" / "demo"], capture_output=True, text=True, env=environment, timeout=1800)
    assert result.returncode == 0, result.stdout + result.stderr
    before, after = (float(re.search(rf"exact match {name} .*\((\d+\.\d) %\)", result.stdout)[1]) for name in ("before", "after"))
    assert before <= 5 and after >= 90
    for path in ("base/final/model.safetensors", "qlora/final/adapter_model.safetensors", "merged/config.json",
                 "qlora/metrics.jsonl", "qlora/plots"):
        assert (tmp_path / path).exists(), path
