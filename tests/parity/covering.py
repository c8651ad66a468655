"""Pairwise covering rows: a small, deterministic subset of a product of choices in which each pair of values of any two factors occurs."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations

Row = dict[str, object]


def _pairs(row: Row, factors: dict) -> set:
    names = [name for name in factors if name in row]
    return {((a, row[a]), (b, row[b])) for a, b in combinations(names, 2)}


def possible_pairs(factors: dict[str, tuple], valid: Callable[[Row], bool] = lambda row: True) -> set:
    """Every pair of two factors' values that can stand together. `valid` judges a row of which some factors may be missing."""
    return {((a, x), (b, y)) for a, b in combinations(factors, 2) for x in factors[a] for y in factors[b] if valid({a: x, b: y})}


def covering_rows(factors: dict[str, tuple], valid: Callable[[Row], bool] = lambda row: True) -> list[Row]:
    """Each row starts from the first pair that is still missing; the other factors take, one after the other, the value that covers
    most missing pairs with those chosen before (of equal ones, the value used least so far). Raises ValueError if the constraints leave
    no way to finish a row."""
    missing = possible_pairs(factors, valid)
    order = {name: number for number, name in enumerate(factors)}
    used = Counter()
    rows = []
    while missing:
        first = min(missing, key=lambda pair: [(order[name], factors[name].index(value)) for name, value in pair])
        row = _finish(dict(first), factors, valid, missing, used)
        if row is None:
            raise ValueError(f"no valid row holds {first}")
        missing -= _pairs(row, factors)
        used.update(row.items())
        rows.append({name: row[name] for name in factors})
    return rows


def _finish(row: Row, factors: dict, valid: Callable, missing: set, used: Counter) -> Row | None:
    left = [name for name in factors if name not in row]
    if not left:
        return row
    name = left[0]

    def preference(value) -> tuple[int, int]:
        return -len(_pairs({**row, name: value}, factors) & missing), used[name, value]

    for value in sorted(factors[name], key=preference):  # (sorted is stable: what is equal keeps the factors' order)
        longer = {**row, name: value}
        if valid(longer) and (whole := _finish(longer, factors, valid, missing, used)) is not None:
            return whole
    return None
