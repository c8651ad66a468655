"""Writes the demo's instruction data: train.jsonl, and heldout.jsonl whose questions are never in the training file.

usage: make_instructions.py --output-dir DIR [--train N] [--heldout N] [--seed N]
Rows are `instruction`, `input`, `output` (Alpaca's columns). What is asked is known from the pre-training text; how it
is asked, and that the answer is short and then ends, is new.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from world import ANIMALS, HOMES, NAMES, NUMBERS, THINGS, World

FACT_QUESTIONS = {
    "colour": ["What colour is the {animal}?", "Name the colour of the {animal}."],
    "home": ["Where does the {animal} live?", "Name the home of the {animal}."],
    "food": ["What does the {animal} eat?", "Name the food of the {animal}."],
}
COUNT_TASK = "Count the words."
STORY_QUESTIONS = {"thing": ("{name} has the {value}.", "What does {name} have?"),
                   "place": ("{name} is in the {value}.", "Where is {name}?")}


def row(instruction: str, given: str, answer: str) -> dict:
    # The space makes the answer's first word the same token as inside a sentence.
    return {"instruction": instruction, "input": given, "output": " " + answer}


def fact_rows(dice: random.Random) -> tuple[list[dict], list[dict]]:
    """Questions about facts: of each kind, a fifth of the animals is asked about only in the held-out set."""
    world, train, heldout = World(), [], []
    for kind, questions in FACT_QUESTIONS.items():
        hidden = set(dice.sample(ANIMALS, len(ANIMALS) // 5))
        for animal in ANIMALS:
            for question in questions:
                item = row(question.format(animal=animal), "", world.facts[animal][kind])
                (heldout if animal in hidden else train).append(item)
    return train, heldout


def reading_row(dice: random.Random) -> dict:
    """A question about the given text: who has what, who is where, how many words there are."""
    if dice.random() < 0.25:
        words = dice.sample(THINGS, dice.choice([2, 3, 4, 5]))
        return row(COUNT_TASK, " ".join(words), NUMBERS[len(words)])
    kind = dice.choice(list(STORY_QUESTIONS))
    told, question = STORY_QUESTIONS[kind]
    people = dict(zip(dice.sample(NAMES, 3), dice.sample(THINGS if kind == "thing" else HOMES, 3)))
    text = " ".join(told.format(name=name, value=value) for name, value in people.items())
    name = dice.choice(list(people))
    return row(question.format(name=name), text, people[name])


def build(train_count: int, heldout_count: int, seed: int) -> tuple[list[dict], list[dict]]:
    dice = random.Random(seed)
    train_facts, heldout_facts = fact_rows(dice)
    heldout = dice.sample(heldout_facts, min(len(heldout_facts), heldout_count // 4))
    seen = set()
    while len(heldout) < heldout_count:
        item = reading_row(dice)
        # The text itself is held out, not only this question about it.
        if item["input"] not in seen:
            seen.add(item["input"])
            heldout.append(item)
    train = []
    while len(train) < train_count:
        item = dice.choice(train_facts) if dice.random() < 0.4 else reading_row(dice)
        if not item["input"] or item["input"] not in seen:
            train.append(item)
    dice.shuffle(heldout)
    return train, heldout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--train", type=int, default=6000)
    parser.add_argument("--heldout", type=int, default=150)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(("train", "heldout"), build(options.train, options.heldout, options.seed)):
        with open(options.output_dir / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for item in rows:
                file.write(json.dumps(item) + "\n")


if __name__ == "__main__":
    main()
