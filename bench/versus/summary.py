"""What the rounds of a row come to: medians, spread, ratios, faults; and the tables for people."""
from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from measure import Measurement, largest, worst_difference

if TYPE_CHECKING:
    from rows import Row

SIDES = ("lorica", "peer")


def spread(values: list[float]) -> float:
    """Between the extremes, as a part of the median."""
    return (max(values) - min(values)) / statistics.median(values)


def rate(each: Measurement) -> float:
    return each.units / each.time()


def side_of(rounds: list[Measurement]) -> dict:
    rates = [rate(each) for each in rounds]
    result = {"rate": statistics.median(rates), "spread": spread(rates), "bytes": statistics.median(each.peak for each in rounds), "command": rounds[0].command,
              "seconds": [each.seconds for each in rounds], "losses": rounds[0].losses, "facts": rounds[0].facts}
    if rounds[0].flops:
        result["gflops"] = statistics.median(each.flops / each.time() / 1e9 for each in rounds)
    return result


def loss_faults(row: Row, rounds: list[dict[str, Measurement]], result: dict) -> list[str]:
    """Sets loss_difference. Contestants that computed something else are no comparison: such a row is void."""
    faults = []
    if row.loss_tolerance is not None:
        if any(len(each[side].losses) == 0 for each in rounds for side in SIDES):
            return ["void: a side reported no losses"]
        result["loss_difference"] = difference = largest(worst_difference(each["lorica"].losses, each["peer"].losses) for each in rounds)
        if not difference <= row.loss_tolerance:  # a NaN, too
            faults.append(f"void: losses differ by {difference:.1e}, {row.loss_tolerance:.0e} is allowed")
    for key in row.same:
        for each in rounds:
            ours, theirs = each["lorica"].facts[key], each["peer"].facts[key]
            if ours != theirs:
                faults.append(f"void: {key} differ: {ours} and {theirs}")
                break
    return faults


def summarize(row: Row, rounds: list[dict[str, Measurement]]) -> dict:
    """Ratios are taken within a round, and their median judged: what slows the machine slows both sides of a round."""
    result = {"what": row.what, "peer_is": row.peer_is, "unit": row.unit, "rounds": len(rounds), "speed_bar": row.speed, "memory_bar": row.memory}
    for side in SIDES:
        result[side] = side_of([each[side] for each in rounds])
    speeds = [rate(each["lorica"]) / rate(each["peer"]) for each in rounds]
    result["speed"], result["speeds"] = statistics.median(speeds), speeds
    result["memory"] = statistics.median(each["lorica"].peak / each["peer"].peak for each in rounds)
    faults = loss_faults(row, rounds, result)
    result["void"] = bool(faults)
    if row.speed is not None and result["speed"] < row.speed:
        faults.append(f"speed {result['speed']:.2f}, the bar is {row.speed}")
    if row.memory is not None and result["memory"] > row.memory:
        faults.append(f"memory {result['memory']:.2f}, the bar is {row.memory}")
    result["faults"] = faults
    return result


def describe_side(side: dict, unit: str, matmul: float) -> str:
    """"412 tokens/s (± 2 %), 1,204 MB, 310 GFLOP/s = 62 %"."""
    scale, shown = (1e6, "MB") if unit == "bytes" else (1, unit)
    text = f"{side['rate'] / scale:.4g} {shown}/s (± {side['spread'] * 50:.0f} %), {side['bytes'] / 1e6:,.0f} MB"
    return text + (f", {side['gflops']:.0f} GFLOP/s = {side['gflops'] / matmul:.0%}" if "gflops" in side else "")


def row_line(name: str, row: dict, matmul: float) -> str:
    matmul = row.get("matmul", matmul)  # as it was known when the row was measured
    bars = [f"≥ {row['speed_bar']:g}" if row["speed_bar"] else "", f"≤ {row['memory_bar']:g}" if row["memory_bar"] else ""]
    sides = [describe_side(row[side], row["unit"], matmul) for side in SIDES]
    ratios = ["void", "void"] if row["void"] else [f"{row['speed']:.2f} ×", f"{row['memory']:.2f} ×"]
    difference = f"{row['loss_difference']:.0e}" if row.get("loss_difference") is not None else ""
    verdict = "missed" if row["faults"] else "met" if any(bars) else ""
    cells = [f"`{name}`: {row['what']}", sides[0], f"{row['peer_is']}: {sides[1]}", ratios[0], bars[0], ratios[1], bars[1], "void" if row["void"] else verdict, difference]
    return "| " + " | ".join(cells) + " |"


def markdown(results: dict) -> str:
    machine = results["machine"]
    lines = [f"{machine['name']}, {machine['cores']} cores in use, load {machine['load']:.1f} before; at most {machine['float32']:.0f} GFLOP/s in float32 "
             f"({machine['avx2']:.0f} with AVX2), {machine['bfloat16']:.0f} in bfloat16, {machine['matmul']:.0f} in torch's best float32 product. {machine['versions']}", ""]
    if results["rows"]:
        lines += ["Speed: of Lorica ÷ of the peer, the median of the rounds' ratios; memory: peak ÷ peak. GFLOP/s: what mathematics needs ÷ time, as a share of torch's best product.", "",
                  "| row | Lorica | peer | speed | bar | memory | bar | verdict | losses differ by |", "|---|---|---|---|---|---|---|---|---|"]
        lines += [row_line(name, each, machine["matmul"]) for name, each in results["rows"].items()]
    if results["shares"]:
        lines += ["", "| row | measured | bar | verdict |", "|---|---|---|---|"]
        lines += [f"| `{name}`: {each['what']} | {each['measured']} | {each['bar']} | {'missed' if each['faults'] else 'met'} |" for name, each in results["shares"].items()]
    commands = dict.fromkeys(each["run_with"] for kind in ("rows", "shares") for each in results[kind].values() if "run_with" in each)
    return "\n".join([*lines, "", *(f"- `{command}`" for command in commands)]) + "\n"
