"""Exact match of answers to the held-out questions, and samples side by side.

usage: evaluate.py --questions heldout.jsonl --answers NAME=answers.jsonl … [--samples N] [--require NAME:min|max:PERCENT]…
Answers are what `lorica generate --prompts_file heldout.jsonl --output answers.jsonl` wrote: one row a question, in the
same order, the text in `completion`. An answer counts if it is the expected one and nothing else, spaces around it aside.
"""

from __future__ import annotations

import argparse
import json
import sys


def read(path: str) -> list[dict]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def right(question: dict, answer: dict) -> bool:
    return answer["completion"].strip() == question["output"].strip()


def question_text(question: dict) -> str:
    return question["instruction"] + (f" [{question['input']}]" if question["input"] else "")


def shortened(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def print_samples(questions: list[dict], answers: dict[str, list[dict]], count: int) -> None:
    """The first `count` questions of different kinds: the same ones in every call."""
    kinds, chosen = set(), []
    for index, question in enumerate(questions):
        kind = question["instruction"] if question["input"] else question["instruction"].split()[0]
        if kind not in kinds and len(chosen) < count:
            kinds.add(kind)
            chosen.append(index)
    for index in chosen:
        print(f"  {question_text(questions[index])}")
        for name, rows in answers.items():
            mark = "✓" if right(questions[index], rows[index]) else "✗"
            print(f"    {name:7} {mark} {shortened(rows[index]['completion'], 70)!r}")


def check(requirement: str, shares: dict[str, float]) -> bool:
    name, bound, percent = requirement.split(":")
    share, limit = shares[name], float(percent)
    if share >= limit if bound == "min" else share <= limit:
        return True
    print(f"evaluate: {name}: {share:.1f} % is not {'at least' if bound == 'min' else 'at most'} {limit:g} %", file=sys.stderr)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", required=True)
    parser.add_argument("--answers", nargs="+", required=True, metavar="NAME=FILE")
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--require", nargs="*", default=[], metavar="NAME:min|max:PERCENT")
    options = parser.parse_args()

    questions = read(options.questions)
    answers, shares = {}, {}
    for item in options.answers:
        name, _, path = item.partition("=")
        answers[name] = read(path)
        if len(answers[name]) != len(questions):
            print(f"evaluate: {path} has {len(answers[name])} answers to {len(questions)} questions", file=sys.stderr)
            return 2
        hits = sum(right(question, answer) for question, answer in zip(questions, answers[name]))
        shares[name] = 100 * hits / len(questions)
        print(f"exact match {name:7} {hits:4} of {len(questions)} held-out questions ({shares[name]:.1f} %)")
    print_samples(questions, answers, options.samples)
    return 0 if all([check(requirement, shares) for requirement in options.require]) else 1


if __name__ == "__main__":
    sys.exit(main())
