"""What a user's data hold is used, refused, or said and kept in the run folder."""

import json

from conftest import instead, metrics, refused

CHAT = {"messages": [{"role": "user", "content": "Say lamp."}, {"role": "assistant", "content": "lamp", "name": "Ann"}]}


def write_rows(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def text(number):
    return {"text": f"lamp rope cup {number}"}


def test_the_account_is_said_once_and_kept(lorica, training, tmp_path, output):
    """A folder's training split is read; its other files and columns that nothing reads are named."""
    folder = tmp_path / "set"
    write_rows(folder / "train.jsonl", *({**text(i), "id": i} for i in range(8)))
    write_rows(folder / "test.jsonl", *(text(i) for i in range(8)))
    write_rows(folder / "valid.jsonl", text(0))
    (folder / "notes.csv").write_text("a,b\n")
    result = lorica.ok(*instead(training, "--dataset", folder), "--eval_dataset", folder, "--max_steps", "2")
    entries = json.loads((output / "account.json").read_text())
    assert {(entry["kind"], entry["part"]) for entry in entries} == {
        ("row", "id"), ("file", "test.jsonl"), ("file", "notes.csv")
    }
    assert next(entry["count"] for entry in entries if entry["part"] == "id") == 8
    assert result.err.count("column id (8 rows)") == 1
    assert "never trained on" in result.err
    assert len(metrics(output)) == 2


def test_conversations_and_chat_templates(lorica, training, model, tmp_path, output):
    """The model's template isn't replaced by another format in silence."""
    rows = write_rows(tmp_path / "chat.jsonl", *[CHAT] * 4)
    arguments = instead(training, "--dataset", rows)
    tokenizer = model / "tokenizer_config.json"
    config = json.loads(tokenizer.read_text())
    tokenizer.write_text(json.dumps({**config, "chat_template": "{{ messages }}"}))
    refused(lorica(*arguments), "chat.jsonl", "chat template", "--dataset_format messages", output=output)
    result = lorica.ok(*arguments, "--dataset_format", "messages", "--max_steps", "1")
    assert result.err.count("chat_template: dataset_format messages asks") == 1
    assert {entry["part"] for entry in json.loads((output / "account.json").read_text())} >= {"chat_template", "messages[].name"}


def test_columns_under_other_names(lorica, training, tmp_path, output):
    """The message offers a mapping; given, it trains."""
    rows = write_rows(tmp_path / "dolly.jsonl", *[{"instruction": "Say lamp.", "context": "", "response": "lamp"}] * 4)
    arguments = instead(training, "--dataset", rows)
    refused(lorica(*arguments), "dolly.jsonl:1", 'column_mapping "output=response,input=context"', output=output)
    lorica.ok(*arguments, "--column_mapping", "output=response,input=context", "--max_steps", "1")


def test_formats_named_in_the_help_work(lorica, model, tmp_path):
    rows = {
        "question_answer": {"question": "2+2?", "answer": "4"},
        "context_question": {"context": "t(a)", "question": "count?", "answer": "1"},
        "human_assistant": {"text": "### Human: hi### Assistant: ho"},
    }
    for name, row in rows.items():
        path = write_rows(tmp_path / f"{name}.jsonl", row)
        result = lorica.ok("tokenize", "--model_name", model, "--dataset", path, "--dataset_format", name)
        assert f"1 row as {name}" in result.err


def test_prompt_files_of_other_editors(lorica, model, tmp_path):
    """Line ends and byte order marks of Windows are no part of a prompt."""
    for name, content in {"lf.txt": b"Hi\nyou\n", "crlf.txt": b"Hi\r\nyou\r\n", "bom.txt": b"\xef\xbb\xbfHi\nyou\n"}.items():
        (tmp_path / name).write_bytes(content)
    ids = [lorica.ok("tokenize", "--model_name", model, "--input", tmp_path / name).out for name in ("lf.txt", "crlf.txt", "bom.txt")]
    assert ids[0] == ids[1] == ids[2]
    (tmp_path / "ansi.txt").write_bytes(b"Caf\xe9\n")
    refused(lorica("tokenize", "--model_name", model, "--input", tmp_path / "ansi.txt"), "ansi.txt:1:4", "iconv")
