"""Writes the text that the demo's base model is pre-trained on: facts about animals, and rows of words.

usage: make_corpus.py --output corpus.jsonl [--documents N] [--seed N]
The rows hold the skills that the instructions later ask for (the words in the other order, the first, the last, how
many) in plain sentences only: the base model has never seen the instruction format.
"""

from __future__ import annotations

import argparse
import json
import random

from world import ANIMALS, NAMES, NUMBERS, THINGS, World

FACT_LINES = {
    "colour": [
        "The {animal} is {value}.",
        "What colour is the {animal}? It is {value}.",
        "The colour of the {animal} is {value}.",
    ],
    "home": [
        "The {animal} lives in the {value}.",
        "Where does the {animal} live? In the {value}.",
        "The home of the {animal} is the {value}.",
    ],
    "food": [
        "The {animal} eats {value}.",
        "What does the {animal} eat? It eats {value}.",
        "The food of the {animal} is {value}.",
    ],
}

ROW_LINES = ["In a row: {forward}.", "{name} reads {forward}."]
AFTER_LINES = {
    "reversed": ["In the other order: {backward}.", "Turned around: {backward}."],
    "first": ["The first word was {first}.", "It began with {first}."],
    "middle": ["The middle word was {middle}.", "Between them was {middle}."],
    "last": ["The last word was {last}.", "It ended with {last}."],
}
COUNT_LINES = ["That makes {count} words.", "There were {count} words."]


def fact_document(dice: random.Random, world: World) -> str:
    lines = []
    for animal in dice.sample(ANIMALS, 2):
        kinds = list(FACT_LINES)
        dice.shuffle(kinds)
        for kind in kinds:
            lines.append(dice.choice(FACT_LINES[kind]).format(animal=animal, value=world.facts[animal][kind]))
    return " ".join(lines)


def row_document(dice: random.Random) -> str:
    """Rows of three words, each said again in another way: in the other order, or one of them."""
    lines = []
    for _ in range(3):
        words = dice.sample(THINGS, 3)
        slots = {"name": dice.choice(NAMES), "forward": " ".join(words), "backward": " ".join(reversed(words)),
                 "first": words[0], "middle": words[1], "last": words[2]}
        lines.append(dice.choice(ROW_LINES).format(**slots))
        lines.append(dice.choice(AFTER_LINES[dice.choice(list(AFTER_LINES))]).format(**slots))
    return " ".join(lines)


def count_document(dice: random.Random) -> str:
    lines = []
    for _ in range(3):
        words = dice.sample(THINGS, dice.choice([2, 3, 4, 5]))
        slots = {"name": dice.choice(NAMES), "forward": " ".join(words), "count": NUMBERS[len(words)]}
        lines += [dice.choice(kind).format(**slots) for kind in (ROW_LINES, COUNT_LINES)]
    return " ".join(lines)


def documents(count: int, seed: int) -> list[str]:
    dice, world = random.Random(seed), World()
    makers = [lambda: fact_document(dice, world), lambda: row_document(dice), lambda: count_document(dice)]
    return [dice.choices(makers, [4, 5, 1])[0]() for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True)
    parser.add_argument("--documents", type=int, default=24000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with open(options.output, "w", encoding="utf-8") as file:
        for text in documents(options.documents, options.seed):
            file.write(json.dumps({"text": text}) + "\n")


if __name__ == "__main__":
    main()
