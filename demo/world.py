"""The small world that the demo's texts are about: words, and facts that are the same in the corpus and in the questions."""

from __future__ import annotations

import random

NAMES = "Mia Ben Tom Ada Leo Eva Max Ida Sam Nora Jon Lily Paul Rosa Finn Anna".split()

THINGS = (
    "lamp rope cup book key shoe drum ring coin box pen hat bell ball kite spoon plate knife brush clock glass chair "
    "table shirt scarf bag stone shell leaf flag map mirror candle basket bottle button carpet curtain feather flute "
    "hammer ladder needle pencil pillow ribbon whistle wheel anchor blanket"
).split()

ANIMALS = (
    "fox owl bear wolf frog duck goat horse mouse cat dog hen crow swan deer hare mole otter beaver spider snail snake "
    "turtle salmon whale eagle robin monkey tiger zebra"
).split()

COLOURS = "red green blue white black brown grey yellow orange pink".split()
HOMES = "forest river desert garden mountain meadow cave lake jungle barn".split()
FOODS = "grass seeds fish berries nuts roots honey insects apples corn".split()
NUMBERS = ["zero", "one", "two", "three", "four", "five"]


class World:
    """Which colour, home and food each animal has. The same for every seed of the texts: a fact is a fact."""

    def __init__(self) -> None:
        dice = random.Random(1)
        self.facts = {
            animal: {"colour": dice.choice(COLOURS), "home": dice.choice(HOMES), "food": dice.choice(FOODS)}
            for animal in ANIMALS
        }


def plural(word: str) -> str:
    if word == "knife":
        return "knives"
    if word == "leaf":
        return "leaves"
    if word == "scarf":
        return "scarves"
    return word + ("es" if word.endswith(("s", "sh", "ch", "x")) else "s")
