"""Broken data sets: the message names the file and the line, and no run folder appears."""

import json
import re

import pytest
from conftest import instead, refused


def rewrite(rows, number, line):
    """Puts `line` in place of line `number` (from 1)."""
    lines = rows.read_text().splitlines()
    lines[number - 1] = line
    rows.write_text("\n".join(lines) + "\n")


def test_missing_file(lorica, training, tmp_path, output):
    refused(lorica(*instead(training, "--dataset", tmp_path / "nothing.jsonl")), "nothing.jsonl", output=output)


@pytest.mark.parametrize("content", ["", "\n\n", "[]"])
def test_empty_data_set(lorica, training, tmp_path, content, output):
    path = tmp_path / ("empty.json" if content == "[]" else "empty.jsonl")
    path.write_text(content)
    refused(lorica(*instead(training, "--dataset", path)), path.name, output=output)


def test_malformed_line_is_named(lorica, training, rows, output):
    rewrite(rows, 17, '{"instruction": "x", "output": ')
    refused(lorica(*training), "rows.jsonl", "17", "skip_bad_rows", output=output)


def test_malformed_lines_are_skipped_only_if_asked_and_counted(lorica, training, rows):
    rewrite(rows, 17, '{"instruction": "x", "output": ')
    rewrite(rows, 40, "no json at all")
    result = lorica.ok(*training, "--skip_bad_rows")
    assert "2" in next(line for line in result.text.splitlines() if "skipped: malformed" in line)


def test_row_without_the_needed_column(lorica, training, rows, output):
    rewrite(rows, 9, json.dumps({"instruction": "x", "input": "y"}))
    refused(lorica(*training), "rows.jsonl", "9", "output", output=output)


def test_column_of_the_wrong_type(lorica, training, rows, output):
    rewrite(rows, 5, json.dumps({"instruction": "x", "input": "", "output": {"a": 1}}))
    refused(lorica(*training), "rows.jsonl", "5", "output", output=output)


def test_malformed_utf8_is_named_or_read(lorica, training, rows, output):
    lines = rows.read_bytes().splitlines()
    lines[2] = b'{"instruction": "\xff\xfe", "input": "", "output": "y"}'
    rows.write_bytes(b"\n".join(lines) + b"\n")
    refused(lorica(*training), "rows.jsonl", "3", output=output)


def test_rows_with_no_supervised_token(lorica, training, rows, output):
    """Rows without supervision are named, and a set of nothing else is refused."""
    long_prompt = "word " * 200
    rows.write_text("".join(json.dumps({"instruction": long_prompt, "input": "", "output": "x"}) + "\n" for _ in range(4)))
    refused(lorica(*training), "rows.jsonl", output=output)


def test_truncation_as_an_error_names_the_row(lorica, training, rows, output):
    rewrite(rows, 30, json.dumps({"instruction": "word " * 200, "input": "", "output": "x"}))
    refused(lorica(*training, "--truncation", "error"), "rows.jsonl", "30", "context_length", output=output)


def test_truncation_is_counted(lorica, training, rows):
    rewrite(rows, 30, json.dumps({"instruction": "w", "input": "", "output": "word " * 200}))
    result = lorica.ok(*training)
    assert re.search(r"\b1\b.*\b(truncated|cut)\b|\b(truncated|cut)\b.*\b1\b", result.err), result.err


def test_kind_of_file_that_is_not_known(lorica, training, tmp_path, output):
    path = tmp_path / "rows.xlsx"
    path.write_bytes(b"PK")
    refused(lorica(*instead(training, "--dataset", path)), "rows.xlsx", "jsonl", output=output)
