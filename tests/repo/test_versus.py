"""bench/versus: its arithmetic, with no training in it. Medians and ratios, what is void, which bar is missed, what the tables say, how many FLOPs a step has."""

import json
import importlib.machinery
import importlib.util
import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench" / "versus"))

import flops  # noqa: E402
import measure  # noqa: E402
import rows  # noqa: E402
import shape  # noqa: E402
import shares  # noqa: E402
import summary  # noqa: E402


def run(seconds, peak=100, losses=(3.0, 2.0), units=512, **more):
    return measure.Measurement(list(seconds), list(losses), peak, "a command", units, **more)


def row(**bars):
    return rows.Row("what", None, None, "the peer", **bars)


def in_rounds(ours, theirs):
    return [{"lorica": a, "peer": b} for a, b in zip(ours, theirs)]


def test_the_first_step_warms_up():
    assert run([50, 1, 3, 2]).time() == 2
    assert run([50]).time() == 50  # of a whole there is one number


def test_ratios_are_taken_within_a_round():
    # The machine is three times slower in the second round, for both: the ratio of every round is 2.
    rounds = in_rounds([run([9, 1], 40), run([9, 3], 40), run([9, 1.5], 60)], [run([9, 2], 100), run([9, 6], 100), run([9, 3], 100)])
    result = summary.summarize(row(speed=2.0, memory=0.4), rounds)
    assert result["speeds"] == [2.0, 2.0, 2.0] and result["speed"] == 2.0
    assert result["memory"] == 0.4
    assert result["lorica"]["rate"] == pytest.approx(512 / 1.5)
    assert result["lorica"]["spread"] == pytest.approx((512 / 1 - 512 / 3) / (512 / 1.5))
    assert result["faults"] == [] and not result["void"]


def test_the_median_of_the_rounds_is_judged():
    rounds = in_rounds([run([9, 1])] * 3, [run([9, 1.9]), run([9, 9]), run([9, 1.7])])
    assert summary.summarize(row(speed=1.9), rounds)["faults"] == []
    assert summary.summarize(row(speed=1.95), rounds)["faults"] == ["speed 1.90, the bar is 1.95"]


def test_memory_has_its_own_bar():
    rounds = in_rounds([run([9, 1], 51)], [run([9, 2], 100)])
    assert summary.summarize(row(speed=1.5, memory=0.5), rounds)["faults"] == ["memory 0.51, the bar is 0.5"]


@pytest.mark.parametrize("ours, void", [((3.0, 2.0), False), ((3.0, 2.0001), False), ((3.0, 2.001), True), ((3.0, math.nan), True)])
def test_a_row_whose_losses_disagree_is_void(ours, void):
    result = summary.summarize(row(speed=1.0), in_rounds([run([9, 1], losses=ours)], [run([9, 2])]))
    assert result["void"] == void and bool(result["faults"]) == void


def test_one_round_that_disagrees_is_enough():
    rounds = in_rounds([run([9, 1]), run([9, 1], losses=(3.0, 2.1))], [run([9, 2])] * 2)
    assert summary.summarize(row(), rounds)["void"]
    rounds = in_rounds([run([9, 1]), run([9, 1], losses=(3.0, math.nan))], [run([9, 2])] * 2)
    assert summary.summarize(row(), rounds)["void"]


def test_another_number_of_steps_stops_the_comparison():
    with pytest.raises(SystemExit):
        summary.summarize(row(), in_rounds([run([9, 1], losses=(3.0,))], [run([9, 2])]))


def test_no_losses_are_no_agreement():
    nothing = in_rounds([run([9, 1], losses=())], [run([9, 2], losses=())])
    assert summary.summarize(row(), nothing)["void"]
    assert not summary.summarize(row(loss_tolerance=None), nothing)["void"]


def test_facts_that_must_be_the_same_are_compared():
    same = in_rounds([run([1], losses=(), facts={"ids": 5})], [run([2], losses=(), facts={"ids": 5})])
    other = in_rounds([run([1], losses=(), facts={"ids": 5})], [run([2], losses=(), facts={"ids": 6})])
    tokenizing = row(loss_tolerance=None, same=("ids",))
    assert not summary.summarize(tokenizing, same)["void"]
    assert summary.summarize(tokenizing, other)["faults"] == ["void: ids differ: 5 and 6"]


def results(each, share=None):
    machine = {"name": "A CPU", "cores": 2, "load": 0.5, "float32": 200, "avx2": 100, "bfloat16": 0, "matmul": 80, "versions": "lorica 1"}
    return {"machine": machine, "rows": {"qlora": each | {"run_with": "bench/versus/run qlora"}}, "shares": {"start": share} if share else {}}


def test_the_table_says_what_was_judged():
    good = summary.summarize(row(speed=1.5, memory=0.5), in_rounds([run([9, 1], 40_000_000, flops=40e9)], [run([9, 2], 100_000_000, flops=40e9)]))
    text = summary.markdown(results(good, shares.judge_start([{"ready_seconds": 2.5, "load_seconds": 1, "first_step_seconds": 3.5}], "a command")))
    line = next(line for line in text.splitlines() if line.startswith("| `qlora`"))
    assert line == ("| `qlora`: what | 512 tokens/s (± 0 %), 40 MB, 40 GFLOP/s = 50% | the peer: 256 tokens/s (± 0 %), 100 MB, 20 GFLOP/s = 25% | 2.00 × | ≥ 1.5 | 0.40 × | ≤ 0.5 "
                    "| met | 0e+00 |")
    assert "| ≤ 3 s | missed |" in text and "- `bench/versus/run qlora`" in text and "A CPU" in text and "lorica 1" in text
    # Later runs of other rows may raise the machine's figure; the share stays what it was when the row was measured.
    assert "= 50%" in summary.row_line("qlora", good | {"matmul": 80}, 1000)


def test_a_void_row_shows_no_ratios():
    bad = summary.summarize(row(speed=1.5), in_rounds([run([9, 1], losses=(9, 9))], [run([9, 2])]))
    line = summary.row_line("qlora", bad, 80)
    assert "2.00 ×" not in line and line.count("void") == 3


def test_every_bar_of_the_table_is_in_the_harness():
    bars = {name: (each.speed, each.memory) for name, each in rows.ROWS.items()}
    assert bars["qlora-recompute"] == (1.25, None) and bars["qlora"] == (1.75, 0.35) and bars["qlora-bf16"] == (6.0, None)
    assert bars["lora"] == (1.7, 0.6) and bars["full"] == (1.3, 0.7) and bars["load"] == (10.0, 0.5)
    assert bars["instructions"] == (3.5, None) and bars["tokenize"] == (1.0, None)
    assert set(shares.SHARES) == {"flops-512", "flops-2048", "layers", "length", "start"}
    assert (shares.SHARE_BAR, shares.WITHIN, shares.START_BAR) == (0.75, 0.10, 3.0)
    assert shares.MANY == 8 * shares.FEW and shares.LONG == 4 * shares.SHORT


def test_flops_of_a_small_model_by_hand():
    config = {"num_hidden_layers": 1, "hidden_size": 4, "intermediate_size": 6, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10}
    # q and o: 4x4; k and v: 2x4; gate and up: 6x4; down: 4x6. One sequence of 3 tokens: 6 pairs. Two tokens are predicted.
    weights, lora = 2 * 16 + 2 * 8 + 3 * 24, (8 + 6 + 6 + 8 + 10 + 10 + 10)
    base, pairs, head = 2 * 3 * weights, 4 * 6 * 4, 2 * 2 * 10 * 4
    assert flops.layer_forward(config, [3], rank=1) == (base, 2 * 3 * lora, pairs)
    assert flops.step_flops(config, [3], rank=0, full=True) == 3 * base + 3 * pairs + 3 * head
    kept = 2 * base + 3 * 2 * 3 * lora + 3 * pairs + 2 * head - 2 * 3 * 4 * (4 + 2 + 2 + 3)  # less the gradient of the first layer's input
    assert flops.step_flops(config, [3], rank=1) == kept
    assert flops.step_flops(config, [3], rank=1, recomputed=True) == kept + base + 2 * 3 * lora + pairs
    # Attention sees each sequence alone; everything else sees tokens.
    assert flops.layer_forward(config, [3, 3], rank=1) == (2 * base, 4 * 3 * lora, 2 * pairs)


def test_shares_of_the_limit():
    needed = flops.step_flops(shape.config_of(24), [512], rank=16, recomputed=True)
    at_bar = shares.judge_flops(512, 24, [needed / 75e9] * 3, True, [100.0] * 3, "a command")
    assert at_bar["share"] == pytest.approx(0.75) and at_bar["faults"] == []
    assert shares.judge_flops(512, 24, [needed / 74e9] * 3, True, [100.0] * 3, "a command")["faults"] == ["74% of the limit, the bar is 75%"]
    # Each round by its own limit: a slow moment of the machine slows both.
    in_pairs = shares.judge_flops(512, 24, [needed / 80e9, needed / 40e9, needed / 60e9], True, [100.0, 50.0, 75.0], "a command")
    assert in_pairs["share"] == pytest.approx(0.8)


@pytest.mark.parametrize("most, fault", [(0.5 + 24 * 0.2, False), (0.5 + 24 * 0.2 * 1.09, False), (0.5 + 24 * 0.2 * 1.12, True), (0.5 + 24 * 0.2 * 0.88, True)])
def test_layers_are_judged_without_what_is_constant(most, fault):
    judged = shares.judge_layers({3: 0.5 + 3 * 0.2, 12: 0.5 + 12 * 0.2, 24: most})
    assert bool(judged["faults"]) == fault


@pytest.mark.parametrize("longest, fault", [(3000, False), (3190, False), (3230, True), (2770, True)])
def test_memory_is_judged_by_what_grows(longest, fault):
    # 1,000 more for the first 512 tokens more: 2,000 more for the next 1,024 are proportional.
    judged = shares.judge_length({512: 0.0, 1024: 1000.0, 2048: float(longest)})
    assert bool(judged["faults"]) == fault


def test_memory_that_does_not_grow_is_no_proportion():
    assert shares.judge_length({512: 100.0, 1024: 100.0, 2048: 300.0})["faults"]


@pytest.mark.parametrize("policy, recomputes", [("recompute", True), ("selective", False), ("keep", False)])
def test_the_policy_is_read_from_the_run(policy, recomputes):
    first = json.dumps({"kind": "train", "step": 1, "timing": {"start": {"recompute": policy}}})
    assert measure.says_recompute(first + "\n{}\n") == recomputes


@pytest.fixture(scope="module")
def program():
    loader = importlib.machinery.SourceFileLoader("versus_run", str(ROOT / "bench" / "versus" / "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("versus_run", loader))
    loader.exec_module(module)
    return module


def test_sides_take_turns(program, capsys):
    order = []

    def side(name):
        return lambda settings: order.append(name) or run([9, 1])

    program.run_row("x", rows.Row("what", side("lorica"), side("peer"), "the peer"), None, 3)
    assert order == ["lorica", "peer", "peer", "lorica", "lorica", "peer"]


def test_results_of_another_machine_are_not_kept(program, tmp_path):
    file = tmp_path / "versus.json"
    program.write(results(summary.summarize(row(), in_rounds([run([9, 1])], [run([9, 2])]))), file)
    assert "qlora" in program.previous({"name": "A CPU", "cores": 2}, file)["rows"]
    assert program.previous({"name": "A CPU", "cores": 4}, file) == {"rows": {}, "shares": {}}
    assert "| `qlora`" in file.with_suffix(".md").read_text()


def test_results_of_other_layers_have_their_own_file(program):
    assert program.results_file(24).name == "versus.json"
    assert program.results_file(2).name == "versus-2-layers.json"
