"""Writes the text that the demo's base model is pre-trained on: facts about animals, and small stories about things.

usage: make_corpus.py --output corpus.jsonl [--documents N] [--seed N]
The stories hold the skills that the instructions later ask for (naming things in the other order, the first, the last,
how many) in plain prose only: the base model has never seen a question in the instruction format.
"""

from __future__ import annotations

import argparse
import json
import random

from world import ANIMALS, NAMES, NUMBERS, THINGS, World, listed

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

OPENINGS = ["{name} has {things}.", "{name} saw {things}."]
SEQUENCE_LINES = ["In a row: {forward}.", "The list was {forward}."]
REVERSED_LINES = ["In the other order: {backward}.", "The list turned around was {backward}."]
FIRST_LINES = ["The first thing was the {first}.", "The first word was {first}."]
LAST_LINES = ["The last thing was the {last}.", "The last word was {last}."]
COUNT_LINES = ["There were {count} things.", "That makes {count} words."]


def fact_document(dice: random.Random, world: World) -> str:
    lines = []
    for animal in dice.sample(ANIMALS, 2):
        kinds = list(FACT_LINES)
        dice.shuffle(kinds)
        for kind in kinds:
            lines.append(dice.choice(FACT_LINES[kind]).format(animal=animal, value=world.facts[animal][kind]))
    return " ".join(lines)


def story_document(dice: random.Random) -> str:
    words = dice.sample(THINGS, dice.choice([2, 3, 3, 3, 4, 4]))
    slots = {
        "name": dice.choice(NAMES), "things": listed(words), "forward": " ".join(words),
        "backward": " ".join(reversed(words)), "first": words[0], "last": words[-1], "count": NUMBERS[len(words)],
    }
    closing = [FIRST_LINES, LAST_LINES, COUNT_LINES]
    dice.shuffle(closing)
    kinds = [OPENINGS, SEQUENCE_LINES, REVERSED_LINES, *closing]
    if dice.random() < 0.5:
        kinds.remove(OPENINGS)
    return " ".join(dice.choice(kind).format(**slots) for kind in kinds)


def documents(count: int, seed: int) -> list[str]:
    dice, world = random.Random(seed), World()
    return [fact_document(dice, world) if dice.random() < 0.5 else story_document(dice) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True)
    parser.add_argument("--documents", type=int, default=12000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with open(options.output, "w", encoding="utf-8") as file:
        for text in documents(options.documents, options.seed):
            file.write(json.dumps({"text": text}) + "\n")


if __name__ == "__main__":
    main()
