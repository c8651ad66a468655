"""Writes the text that the demo's base model is pre-trained on: facts about animals, and small stories.

usage: make_corpus.py --output corpus.jsonl [--documents N] [--seed N]
What the instructions later ask for is in it as plain sentences: facts, who has what in a story, how many words there are.
The instruction format, and that an answer is short and then ends, is new to the base model.
"""

from __future__ import annotations

import argparse
import json
import random

from world import ANIMALS, HOMES, NAMES, NUMBERS, THINGS, World

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

# Who has what, and who is where: the answer stands in the text itself.
STORY_LINES = {
    "thing": ("{name} has the {value}.", "What does {name} have? {name} has the {value}."),
    "place": ("{name} is in the {value}.", "Where is {name}? {name} is in the {value}."),
}
COUNT_LINES = ["{name} reads {words}. That makes {count} words.", "In a row: {words}. There are {count} words."]


def fact_document(dice: random.Random, world: World) -> str:
    lines = []
    for animal in dice.sample(ANIMALS, 2):
        kinds = list(FACT_LINES)
        dice.shuffle(kinds)
        for kind in kinds:
            lines.append(dice.choice(FACT_LINES[kind]).format(animal=animal, value=world.facts[animal][kind]))
    return " ".join(lines)


def story_document(dice: random.Random) -> str:
    """Three people and what they have, or where they are; then a question about each of them."""
    kind = dice.choice(list(STORY_LINES))
    told, asked = STORY_LINES[kind]
    people = dict(zip(dice.sample(NAMES, 3), dice.sample(THINGS if kind == "thing" else HOMES, 3)))
    lines = [told.format(name=name, value=value) for name, value in people.items()]
    again = list(people.items())
    dice.shuffle(again)
    return " ".join(lines + [asked.format(name=name, value=value) for name, value in again])


def count_document(dice: random.Random) -> str:
    lines = []
    for _ in range(3):
        words = dice.sample(THINGS, dice.choice([2, 3, 4, 5]))
        lines.append(dice.choice(COUNT_LINES).format(name=dice.choice(NAMES), words=" ".join(words), count=NUMBERS[len(words)]))
    return " ".join(lines)


def documents(count: int, seed: int) -> list[str]:
    dice, world = random.Random(seed), World()
    makers = [lambda: fact_document(dice, world), lambda: story_document(dice), lambda: count_document(dice)]
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
