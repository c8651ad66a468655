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

from world import ANIMALS, NUMBERS, THINGS, World, plural

FACT_QUESTIONS = {
    "colour": ["What colour is the {animal}?", "Name the colour of the {animal}."],
    "home": ["Where does the {animal} live?", "Name the home of the {animal}."],
    "food": ["What does the {animal} eat?", "Name the food of the {animal}."],
}
WORD_QUESTIONS = {
    "Write {word} in capital letters.": str.upper,
    "How do you write {word} on a sign?": str.upper,
    "What is the plural of {word}?": plural,
    "Say that there are two of {word}.": plural,
}
COUNT_QUESTION = "Count the words."


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


def word_rows(dice: random.Random) -> tuple[list[dict], list[dict]]:
    """How a word is written: of each kind, a sixth of the words is asked about only in the held-out set."""
    train, heldout = [], []
    hidden = {answer: set(dice.sample(THINGS, len(THINGS) // 6)) for answer in (str.upper, plural)}
    for question, answer in WORD_QUESTIONS.items():
        for word in THINGS:
            item = row(question.format(word=word), "", answer(word))
            (heldout if word in hidden[answer] else train).append(item)
    return train, heldout


def count_row(dice: random.Random) -> dict:
    words = dice.sample(THINGS, dice.choice([2, 3, 4, 5]))
    return row(COUNT_QUESTION, " ".join(words), NUMBERS[len(words)])


def build(train_count: int, heldout_count: int, seed: int) -> tuple[list[dict], list[dict]]:
    dice = random.Random(seed)
    known, heldout = fact_rows(dice)
    known_words, heldout_words = word_rows(dice)
    heldout = heldout + heldout_words
    seen = set()
    while len(heldout) < heldout_count:
        item = count_row(dice)
        # The row of words itself is held out.
        if item["input"] not in seen:
            seen.add(item["input"])
            heldout.append(item)
    train = []
    while len(train) < train_count:
        share = dice.random()
        item = dice.choice(known) if share < 0.45 else dice.choice(known_words) if share < 0.85 else count_row(dice)
        if not item["input"] or item["input"] not in seen:
            train.append(item)
    dice.shuffle(heldout)
    return train, heldout[:heldout_count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--train", type=int, default=6000)
    parser.add_argument("--heldout", type=int, default=120)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(("train", "heldout"), build(options.train, options.heldout, options.seed)):
        with open(options.output_dir / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for item in rows:
                file.write(json.dumps(item) + "\n")


if __name__ == "__main__":
    main()
