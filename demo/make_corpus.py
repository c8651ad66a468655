"""Writes the text that the demo's base model is pre-trained on: facts about animals, and how words are written.

usage: make_corpus.py --output corpus.jsonl [--documents N] [--seed N]
What the instructions later ask for is in it as plain sentences: facts, capital letters, plurals, how many words there are.
The instruction format, and that an answer is short and then ends, is new to the base model.
"""

from __future__ import annotations

import argparse
import json
import random

from world import ANIMALS, NAMES, NUMBERS, THINGS, World, plural

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

WORD_LINES = {
    "capitals": ["In capital letters {word} is {capitals}.", "The sign for {word} says {capitals}."],
    "plural": ["One {word}, two {plural}.", "The plural of {word} is {plural}."],
}
ROW_LINES = ["{name} reads {words}.", "In a row: {words}."]
AFTER_LINES = ["That makes {count} words.", "The last word is {last}."]


def fact_document(dice: random.Random, world: World) -> str:
    lines = []
    for animal in dice.sample(ANIMALS, 2):
        kinds = list(FACT_LINES)
        dice.shuffle(kinds)
        for kind in kinds:
            lines.append(dice.choice(FACT_LINES[kind]).format(animal=animal, value=world.facts[animal][kind]))
    return " ".join(lines)


def word_document(dice: random.Random) -> str:
    """How words are written: in capital letters, and more than one of it."""
    lines = []
    for word in dice.sample(THINGS, 4):
        line = dice.choice(WORD_LINES[dice.choice(list(WORD_LINES))])
        lines.append(line.format(word=word, capitals=word.upper(), plural=plural(word)))
    return " ".join(lines)


def row_document(dice: random.Random) -> str:
    """Rows of words: how many, and which is the last."""
    lines = []
    for _ in range(2):
        words = dice.sample(THINGS, dice.choice([2, 3, 4, 5]))
        slots = {"name": dice.choice(NAMES), "words": " ".join(words), "count": NUMBERS[len(words)], "last": words[-1]}
        lines += [line.format(**slots) for line in (dice.choice(ROW_LINES), *dice.sample(AFTER_LINES, 2))]
    return " ".join(lines)


def documents(count: int, seed: int) -> list[str]:
    dice, world = random.Random(seed), World()
    makers = [lambda: fact_document(dice, world), lambda: word_document(dice), lambda: row_document(dice)]
    return [dice.choices(makers, [5, 3, 2])[0]() for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True)
    parser.add_argument("--documents", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with open(options.output, "w", encoding="utf-8") as file:
        for text in documents(options.documents, options.seed):
            file.write(json.dumps({"text": text}) + "\n")


if __name__ == "__main__":
    main()
