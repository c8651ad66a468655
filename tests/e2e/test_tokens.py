"""How text becomes ids, as a user sees it: written examples, prompts from files, where answers end."""

import json

import pytest
from conftest import refused


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_examples_are_written(lorica, model, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "lamp ", "completion": "rope"}) + "\n" + json.dumps({"prompt": "a", "completion": " cup"}) + "\n")
    output = tmp_path / "examples.jsonl"
    lorica.ok("tokenize", "--model_name", model, "--dataset", rows, "--output", output)
    lines = read_lines(output)
    assert [list(line) for line in lines] == [["text", "input_ids", "labels"]] * 2
    for line in lines:
        assert len(line["input_ids"]) == len(line["labels"])
        assert all(label in (-100, token) for token, label in zip(line["input_ids"], line["labels"], strict=True))
        assert line["labels"][0] == -100 and line["labels"][-1] == line["input_ids"][-1]
    assert "lamp rope" in lines[0]["text"] and "a cup" in lines[1]["text"]


def test_output_that_cannot_be_written(lorica, model, rows, tmp_path):
    refused(lorica("tokenize", "--model_name", model, "--dataset", rows, "--output", tmp_path / "absent" / "x.jsonl"), "absent")


def answers(lorica, model, tmp_path, *arguments):
    output = tmp_path / "answers.jsonl"
    lorica.ok("generate", "--model_name", model, "--precision", "fp32", "--max_new_tokens", 4, "--output", output, *arguments)
    return read_lines(output)


@pytest.mark.parametrize("content", [b"lamp\r\nrope\r\n", b"\xef\xbb\xbflamp\nrope\n", b"lamp\nrope"])
def test_lines_of_prompts(lorica, model, tmp_path, content):
    prompts = tmp_path / "prompts.txt"
    prompts.write_bytes(content)
    assert [line["prompt"] for line in answers(lorica, model, tmp_path, "--prompts_file", prompts)] == ["lamp", "rope"]


def test_prompts_that_are_not_utf8_are_refused(lorica, model, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_bytes("lamp\ncaf\u00e9".encode("cp1252"))
    refused(lorica("generate", "--model_name", model, "--prompts_file", prompts), "prompts.txt:2", "UTF-8")


def test_generation_config_ends_answers_and_the_rest_is_named(lorica, model, tmp_path):
    # Every id ends the answer: it is empty.
    vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": list(range(vocabulary)), "temperature": 0.6}))
    result = lorica.ok("generate", "--model_name", model, "--precision", "fp32", "--max_new_tokens", 4, "--prompt", "lamp")
    assert result.out.strip() == ""
    assert "temperature" in result.err and "generation_config.json" in result.err

