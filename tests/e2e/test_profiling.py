"""The profiler as a user meets it: traces, tables, timelines of memory, by one process and by several, and what happens
where nothing can be written. Profiling changes no number of a run."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from conftest import TIMEOUT, instead, metrics, refused
from ranks import wait_for_step
from test_hostile_machine import fill, mount  # noqa: F401 (a fixture)
from tiny import DEMO

SCOPES = ("user_annotation", "cpu_op")
EPSILON = 0.002  # microseconds: Kineto's times are whole nanoseconds, written in microseconds with three digits, each rounded


def once(wait=1, warm_up=1, active=1):
    return ["--profile", "--repeat", "1", "--wait_steps", str(wait), "--profiler_warmup_steps", str(warm_up), "--active_steps", str(active)]


class Trace:
    """What a trace file says was done on the CPU, as a tree."""

    def __init__(self, path) -> None:
        self.document = json.loads(path.read_text())
        self.spans = [event for event in self.document["traceEvents"] if event.get("ph") == "X" and event.get("cat") in SCOPES]
        self.spans.sort(key=lambda span: (span["ts"], -span["dur"]))
        open_spans = {}
        for span in self.spans:
            stack = open_spans.setdefault(span["tid"], [])
            while stack and end(stack[-1]) <= span["ts"] + EPSILON:
                stack.pop()
            span["parent"] = stack[-1] if stack else None
            stack.append(span)

    def named(self, name: str) -> list[dict]:
        return [span for span in self.spans if span["name"] == name]

    def one(self, name: str) -> dict:
        found = self.named(name)
        assert len(found) == 1, f"{len(found)} spans '{name}' among {sorted({span['name'] for span in self.spans})}"
        return found[0]

    def inside(self, outer: dict) -> list[dict]:
        return [span for span in self.spans if span["parent"] is outer]


    def check_names_of_steps(self, steps: list[str]) -> None:
        """At least 90 % of a step has a name. Of the best one: the system may interrupt some, between any two scopes, and what
        has no name has none in any step."""
        assert self.steps() == steps
        shares = [sum(span["dur"] for span in self.inside(self.one(name))) / self.one(name)["dur"] for name in steps]
        assert max(shares) >= 0.9, [f"{share:.1%}" for share in shares]

    def steps(self) -> list[str]:
        return [span["name"] for span in self.spans if span["parent"] is None and span["name"].startswith("step ")]


def end(span: dict) -> float:
    return span["ts"] + span["dur"]


def ancestors(span: dict) -> list[str]:
    names = []
    while span := span["parent"]:
        names.append(span["name"])
    return names


def table(path) -> dict[str, list[float]]:
    """self ms, self %, total ms, calls, us a call of each entry of the CPU's table (sums have the first two)."""
    rows = {}
    for line in path.read_text().partition("On the CPU")[2].splitlines():
        if found := re.match(r"((?: +[\d.]+)+) {2,}(\S.*)", line):
            rows[found[2]] = [float(number) for number in found[1].split()]
    return rows


def files(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def losses(folder) -> list[tuple]:
    return [(record["step"], record["loss"], record["grad_norm"]) for record in metrics(folder)]


@pytest.mark.alone
def test_where_a_step_goes(lorica, training, output):
    lorica.ok(*training, *once(active=4), "--recompute", "recompute")
    folder = output / "profiles"
    assert files(folder) == {"iteration_6/rank0.trace.json", "iteration_6/rank0_key_averages.txt"}
    trace = Trace(folder / "iteration_6" / "rank0.trace.json")
    trace.check_names_of_steps(["step 3", "step 4", "step 5", "step 6"])
    for name in trace.steps():
        parts = {span["name"]: span for span in trace.spans if span["parent"] is not None and name in ancestors(span)}
        assert {"data", "optimizer", "gradient norm", "metrics", "head and loss", "embedding: forward"} <= set(parts)
        for layer in ("layer 0", "layer 1"):
            assert ancestors(parts[f"{layer}: forward"])[0] == "forward of micro-batch 1"
            assert ancestors(parts[f"{layer}: backward"])[0] == "backward of micro-batch 1"
            assert ancestors(parts[f"{layer}: recomputation"])[0] == f"{layer}: backward"
        order = [parts[each]["ts"] for each in ("data", "layer 0: forward", "layer 1: forward", "head and loss",
                                                "layer 1: backward", "layer 0: backward", "optimizer", "metrics")]
        assert order == sorted(order)
    operations = {span["name"]: span for span in trace.spans}
    for operation in ("linear", "attention", "rms_norm", "rotary", "gated", "linear_cross_entropy"):
        assert any("forward" in scope or scope == "head and loss" for scope in ancestors(trace.named(f"lorica::{operation}")[0])), operation
    assert "layer 0: backward" in ancestors(operations["lorica::attention_backward"])


def test_spans_nest(lorica, training, output):
    lorica.ok(*training, *once())
    trace = Trace(output / "profiles/iteration_3/rank0.trace.json")
    assert len(trace.spans) > 50
    for span in trace.spans:
        if span["parent"] is not None:
            assert end(span) <= end(span["parent"]) + EPSILON, f"{span['name']} outlasts {span['parent']['name']}"


def test_the_table_adds_up_to_the_trace(lorica, training, output):
    lorica.ok(*training, *once(active=2))
    folder = output / "profiles/iteration_4"
    rows, trace = table(folder / "rank0_key_averages.txt"), Trace(folder / "rank0.trace.json")
    entries = {name: row for name, row in rows.items() if not name.startswith("(")}
    assert len(entries) == 25
    # Each figure is rounded to a microsecond, a nanosecond in the trace.
    outermost = sum(span["dur"] for span in trace.spans if span["parent"] is None)
    assert rows["(sum)"][0] == pytest.approx(outermost / 1e3, abs=0.001)
    assert sum(row[0] for row in entries.values()) + rows["(all others)"][0] == pytest.approx(rows["(sum)"][0], abs=0.0005 * 27)
    assert [row[0] for row in entries.values()] == sorted((row[0] for row in entries.values()), reverse=True)
    for name, row in entries.items():
        spans = trace.named(name)
        assert row[3] == len(spans), name
        if all(name not in ancestors(span) for span in spans):
            assert row[2] == pytest.approx(sum(span["dur"] for span in spans) / 1e3, abs=0.001), name


def test_no_number_changes(lorica, training, output, tmp_path):
    lorica.ok(*training)
    lorica.ok(*instead(training, "--output_dir", tmp_path / "profiled"), *once(active=2), "--profile_memory", "--with_stack", "--with_shapes",
              "--export_memory_timeline")
    assert losses(tmp_path / "profiled") == losses(output)
    assert (tmp_path / "profiled/final/adapter_model.safetensors").read_bytes() == (output / "final/adapter_model.safetensors").read_bytes()


def test_cycles_without_end(lorica, training, output):
    lorica.ok(*instead(training, "--max_steps", "12"), "--profile", "--profiling_frequency", "4", "--active_steps", "1", "--num_epochs", "3")
    names = {path.parent.name for path in output.glob("profiles/*/rank0.trace.json")}
    assert names == {"iteration_4", "iteration_8", "iteration_12"}


def test_micro_batches_are_counted_and_rounded_up(lorica, training, output):
    lorica.ok(*training, "--gradient_accumulation_steps", "2", *once(wait=3, warm_up=1, active=1))
    trace = Trace(output / "profiles/iteration_4/rank0.trace.json")
    for number in (1, 2):
        for direction in ("forward", "backward"):
            assert ancestors(trace.one(f"{direction} of micro-batch {number}")) == ["step 4"]


def test_what_is_written_is_what_is_asked_for(lorica, training, output):
    lorica.ok(*training, *once(), "--export_trace", "false", "--with_stack", "--with_shapes", "--export_memory_timeline")
    folder = output / "profiles/iteration_3"
    assert files(folder) == {"rank0_key_averages.txt", "rank0_stacks.txt", "rank0_memory-timeline.json", "rank0_memory-timeline.html"}
    stacks = [line.rpartition(" ") for line in (folder / "rank0_stacks.txt").read_text().splitlines()]
    assert all(int(microseconds) >= 1 for _, _, microseconds in stacks)
    assert "step 3;forward of micro-batch 1;layer 0: forward;lorica::linear" in {stack for stack, _, _ in stacks}
    # Two layers of width 64: the shape of each operation's input stands beside its name.
    assert re.search(r"lorica::gated  \[\d+, 192\]", (folder / "rank0_key_averages.txt").read_text())


def test_the_timeline_of_memory(lorica, training, output):
    lorica.ok(*training, *once(active=2), "--export_memory_timeline", "--recompute", "keep", "--optimizer", "adamw")
    document = json.loads((output / "profiles/iteration_4/rank0_memory-timeline.json").read_text())
    purposes, points, peak = document["purposes"], document["points"], document["peak"]
    assert len(points) > 100 and all(len(point) == 1 + len(purposes) for point in points)
    assert all(figure >= 0 for point in points for figure in point)
    assert [point[0] for point in points] == sorted(point[0] for point in points)
    assert peak["bytes"] == max(sum(point[1:]) for point in points) == sum(peak["parts"].values())
    # A LoRA of rank 4: weights as they are stored, adapters and Adam's two moments in float32.
    first = dict(zip(purposes, points[0][1:]))
    assert first["trained weights"] > 0 and first["optimizer state"] == 2 * first["trained weights"]
    assert first["weights"] == (output.parent / "model/model.safetensors").stat().st_size - first_tensor(output.parent / "model/model.safetensors")
    assert first["gradients"] == first["activations kept"] == first["temporary"] == 0
    assert peak["parts"]["activations kept"] > 0
    assert "layer" in peak["scope"] or "head and loss" in peak["scope"]
    # What a step took it gave back: the second one begins where the first did.
    assert points[-1][1:] == points[0][1:]
    page = (output / "profiles/iteration_4/rank0_memory-timeline.html").read_text()
    assert "<svg" in page and page.count("<polygon") == len(purposes)
    assert not re.search(r"\b(src|href)=", page)


def first_tensor(path) -> int:
    """Bytes of a safetensors file before its tensors."""
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def test_peak_of_the_timeline_and_of_the_metrics(lorica, pristine, training, output, tmp_path):
    """metrics.jsonl has the peak of the process, the timeline that of its tensors. What the process needs besides (the
    program, LibTorch) is the same for a small batch and a large one, so the two peaks grow by the same amount: up to the
    pieces that the host's allocator keeps (at most an eighth more than lives, host_allocator.hpp) and the kernels' scratch
    memory, which is below 8 MiB a thread."""
    subprocess.run([sys.executable, DEMO / "make_base.py", "--tokenizer-dir", pristine, "--output-dir", tmp_path / "wide",
                    "--hidden", "256", "--layers", "4"], check=True, stdout=subprocess.DEVNULL)
    found = []
    for size in ("2", "32"):
        out = tmp_path / f"of-{size}"
        arguments = instead(instead(training, "--model_name", tmp_path / "wide"), "--output_dir", out)
        lorica.ok(*instead(instead(arguments, "--batch_size", size), "--max_steps", "2"), "--recompute", "keep", "--save_model", "false",
                  *once(wait=0), "--export_memory_timeline")
        peak = json.loads((out / "profiles/iteration_2/rank0_memory-timeline.json").read_text())["peak"]["bytes"]
        resident = metrics(out)[-1]["timing"]["peak_memory_bytes"]
        assert peak < resident
        found.append((peak, resident))
    (small, small_resident), (large, large_resident) = found
    assert large - small > 64 << 20, "too small a difference to see"
    assert large_resident - small_resident == pytest.approx(large - small, abs=(large - small) / 8 + (8 << 20))


def test_the_first_steps_memory(lorica, training, output):
    result = lorica.ok(*training, "--profile_memory")
    assert files(output / "profiles") == {"memory_snapshot.json", "memory_snapshot.html"}
    assert "memory_snapshot.html" in result.err
    document = json.loads((output / "profiles/memory_snapshot.json").read_text())
    live, scopes = {}, set()
    for event in document["events"]:
        scopes.update(event["scope"].split(" > "))
        if event["bytes"] > 0:
            assert event["address"] not in live, "memory was taken twice"
            live[event["address"]] = event["bytes"]
        elif event["address"] in live:
            assert live.pop(event["address"]) == -event["bytes"]
    assert {"step 1", "layer 0: forward", "layer 1: backward", "optimizer"} <= scopes and "step 2" not in scopes
    # What the first step leaves is Adam's state.
    left = sum(event["bytes"] for event in document["events"] if event["purpose"] == "optimizer state")
    assert left == 2 * document["held_before"]["trained weights"] == sum(live.values())


@pytest.mark.alone
def test_ranks_write_their_own(lorica, training, output):
    result = lorica.ok(*training, "--world_size", "2", *once(active=4), "--profile_memory", "--export_memory_timeline")
    for rank in range(2):
        trace = Trace(output / f"profiles/iteration_6/rank{rank}.trace.json")
        assert trace.document["distributedInfo"] == {"rank": rank, "world_size": 2}
        names = {span["name"] for span in trace.spans}
        assert {"gather parameters", "wait for parameters", "reduce gradients", "wait for gradients", "agree with other processes"} <= names
        assert ("metrics" in names) == (rank == 0)
        trace.check_names_of_steps(["step 3", "step 4", "step 5", "step 6"])
        parts = json.loads((output / f"profiles/iteration_6/rank{rank}_memory-timeline.json").read_text())["purposes"]
        assert "in exchange" in parts
    assert files(output / "profiles") == {"memory_snapshot.json", "memory_snapshot.html"} | {
        f"iteration_6/rank{rank}{what}" for rank in range(2)
        for what in (".trace.json", "_key_averages.txt", "_memory-timeline.json", "_memory-timeline.html")}
    assert result.err.count("profile of steps 3 to 6") == 1


@pytest.mark.alone
def test_pipeline_stages(lorica, training, output):
    lorica.ok(*training, "--world_size", "2", "--pipeline_stages", "2", "--gradient_accumulation_steps", "2", *once(wait=2, warm_up=2, active=8))
    first, last = (Trace(output / f"profiles/iteration_6/rank{rank}.trace.json") for rank in range(2))
    names = [{span["name"] for span in trace.spans} for trace in (first, last)]
    for blocks, owner in (("embedding: forward", 0), ("head and loss", 1)):
        assert blocks in names[owner] and blocks not in names[1 - owner]
    for layer in ("layer 0", "layer 1"):
        owners = [stage for stage in range(2) if f"{layer}: forward" in names[stage]]
        assert len(owners) == 1 and f"{layer}: backward" in names[owners[0]]
    for trace in (first, last):
        assert {"send", "wait to receive"} <= {span["name"] for span in trace.spans}
        trace.check_names_of_steps(["step 3", "step 4", "step 5", "step 6"])


def test_steps_count_on_when_resumed(lorica, training, output):
    profile = ["--profile", "--profiling_frequency", "4", "--active_steps", "1", "--num_epochs", "3"]
    lorica.ok(*training, *profile, "--save_steps", "6")
    result = lorica.ok(*instead(training, "--max_steps", "9"), *profile, "--save_steps", "6", "--with_stack", "--resume")
    differing = [line for line in result.err.splitlines() if line.startswith("options that differ")]
    assert len(differing) == 1 and "profil" not in differing[0] and "max_steps" in differing[0]
    assert {path.parent.name for path in output.glob("profiles/*/rank0.trace.json")} == {"iteration_4", "iteration_8"}
    assert [span["name"] for span in Trace(output / "profiles/iteration_8/rank0.trace.json").spans if span["name"].startswith("step ")] == ["step 8"]


def test_a_run_that_ends_early_writes_what_it_has(lorica, training, output):
    lorica.ok(*instead(training, "--max_steps", "3"), *once(active=10))
    assert [span["name"] for span in Trace(output / "profiles/iteration_3/rank0.trace.json").spans if span["name"].startswith("step ")] == ["step 3"]


def test_an_interrupted_recording_is_written(lorica, training, output):
    process = lorica.start(*instead(training, "--max_steps", "100000"), "--num_epochs", "100000", *once(wait=0, active=100000))
    try:
        wait_for_step(process, output, 4)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    assert process.returncode == 0, err
    done = metrics(output)[-1]["step"]
    names = {span["name"] for span in Trace(output / f"profiles/iteration_{done}/rank0.trace.json").spans}
    assert {"step 2", f"step {done}"} <= names and "step 1" not in names


def test_checkpoints_and_evaluations_have_a_scope(lorica, training, output):
    lorica.ok(*training, *once(), "--save_steps", "3", "--eval_fraction", "0.2", "--eval_steps", "3")
    trace = Trace(output / "profiles/iteration_3/rank0.trace.json")
    for name in ("evaluation", "checkpoint"):
        assert trace.one(name)["parent"] is None and trace.one(name)["ts"] >= end(trace.one("step 3"))


def test_nothing_will_be_recorded_is_said_at_once(lorica, training, output):
    result = lorica.ok(*training, "--profile")
    assert "the first recording begins with step 9, this run has steps 1 to 6" in result.err
    assert files(output / "profiles") == set()


def test_a_cycle_without_room(lorica, training, output):
    result = lorica(*training, "--profile", "--profiling_frequency", "5", "--profiler_warmup_steps", "4")
    refused(result, "--profiling_frequency 5", "--profiler_warmup_steps 4", "active_steps 2", "6 or more", output=output)
    result = lorica(*training, *once(wait=0, warm_up=0), "--profile_memory")
    refused(result, "--profile_memory", "both would record the first step", output=output)


def test_profiles_of_another_run(lorica, training, output, tmp_path):
    shared = ["--profiling_output", tmp_path / "shared"]
    lorica.ok(*training, *once(active=2), *shared)
    (tmp_path / "shared/notes.txt").write_text("kept")
    (tmp_path / "shared/iteration_4/rank.txt").write_text("kept")
    second = instead(training, "--output_dir", tmp_path / "second")
    refused(lorica(*second, *once(), *shared, "--overwrite_profiling_output", "false"), str(tmp_path / "shared"), "another run", "rank0",
            output=tmp_path / "second")
    lorica.ok(*second, *once(), *shared)
    assert files(tmp_path / "shared") == {"iteration_3/rank0.trace.json", "iteration_3/rank0_key_averages.txt", "notes.txt", "iteration_4/rank.txt"}
    lorica.ok(*training, "--overwrite_output_dir")
    assert len(files(tmp_path / "shared")) == 4, "a run that doesn't profile touched the folder"


def test_a_folder_that_cant_be_written_is_refused_first(lorica, training, output, tmp_path):
    (tmp_path / "file").write_text("kept")
    result = lorica(*training, *once(), "--profiling_output", tmp_path / "file" / "profiles")
    refused(result, "--profiling_output", str(tmp_path / "file"), output=output)
    assert "model:" not in result.err, "it was found out after loading"


def test_a_full_disk_costs_the_profile_only(lorica, training, output, mount):  # noqa: F811
    disk = mount("disk", "size=1m")
    fill(disk, leave=16384)
    result = lorica.ok(*training, *once(active=2), "--export_memory_timeline", "--profiling_output", disk / "profiles")
    assert "profile: can't write it" in result.err and str(disk) in result.err
    assert [step for step, _, _ in losses(output)] == [1, 2, 3, 4, 5, 6] and (output / "final").exists()
    assert not list(disk.glob("**/*.trace.json")) and not [path for path in files(disk) if "tmp" in path], "half a file was left"


def test_the_plan_takes_the_options(lorica, training):
    lorica.ok("plan", *training[1:], "--profile", "--profiling_frequency", "20")
    refused(lorica("plan", *training[1:], "--profile", "--profiling_frequency", "2"), "--profiling_frequency 2")


def test_no_effect_is_said(lorica, training):
    result = lorica.ok(*training, "--with_stack", "--active_steps", "7")
    assert "options active_steps, with_stack: no effect without profile" in result.text
