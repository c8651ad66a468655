"""Runs of several processes: started by Lorica or by somebody else, stopped, killed, cut off. Nothing hangs, nothing is
lost, no process is left behind, and the message names the first to fail and why."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import instead, metrics, refused
from ranks import (THOROUGH, alive, children_by_rank, ended, error_lines, free_port, is_quiet, start_separately, steps_done,
                   wait_for_step, wait_until)
from test_hostile_machine import fill, mount  # noqa: F401 (a fixture)

WORLD = 3
ALL_OUT = 120  # seconds in which all processes must have ended after one failed, also on a busy machine


@pytest.fixture
def endless(training, output) -> list:
    """A run that somebody has to stop."""
    return [*instead(training, "--max_steps", "100000"), "--num_epochs", "100000", "--save_steps", "5", "--output_dir", output]


@pytest.fixture
def started(lorica, endless, output):
    """A run of WORLD processes that Lorica started, at its third step."""
    processes = []

    def start(*words, step=3):
        process = lorica.start(*endless, "--world_size", WORLD, *words)
        processes.append(process)
        wait_for_step(process, output, step)
        process.ranks = children_by_rank(process.pid)
        assert sorted(process.ranks) == list(range(WORLD))
        return process

    yield start
    for process in processes:
        process.kill()


def none_left(process) -> bool:
    return wait_until(lambda: not any(alive(child) for child in process.ranks.values()), ALL_OUT)


def test_one_line_a_step_and_a_log_of_each_process(lorica, training, output, tmp_path):
    result = lorica.ok(*training, "--world_size", "2", "--rank_logs", tmp_path / "logs")
    assert [record["step"] for record in metrics(output)] == list(range(1, 7))
    assert result.out.count("step 6/6") == 1
    assert result.err.count("model: llama") == 1, "the others' logs were shown as well"
    for rank in range(2):
        assert "model: llama" in (tmp_path / "logs" / f"rank-{rank}.log").read_text()


def test_verbose_shows_everyones_log(lorica, training):
    result = lorica.ok(*training, "--world_size", "2", "--verbose")
    assert any(line.startswith("[rank 1] model: llama") for line in result.err.splitlines()), result.err


@pytest.mark.parametrize("number", range(50 if THOROUGH else 3))
def test_process_killed_at_a_random_moment(lorica, started, endless, output, number):
    dice = random.Random(number)
    victim = number % WORLD
    process = started(step=1)
    time.sleep(dice.uniform(0, 1.5))
    os.kill(process.ranks[victim], signal.SIGKILL)
    result = ended(process, ALL_OUT)
    assert result.code == 1
    assert len(error_lines(result)) == 1 and is_quiet(result), result.err
    assert f"error: rank {victim} was killed by signal 9 (SIGKILL)" in result.err
    assert none_left(process)
    if steps_done(output) > 10:  # then there is a whole checkpoint to go on from
        lorica.ok(*instead(endless, "--max_steps", str(steps_done(output) + 3)), "--world_size", WORLD, "--resume")


def test_process_killed_while_meeting(lorica, endless):
    process = lorica.start(*endless, "--world_size", WORLD)
    assert wait_until(lambda: len(children_by_rank(process.pid)) == WORLD)
    process.ranks = children_by_rank(process.pid)
    os.kill(process.ranks[1], signal.SIGKILL)
    result = ended(process, ALL_OUT)
    assert result.code == 1 and "rank 1 was killed by signal 9" in result.err and none_left(process)


def test_launcher_killed_leaves_no_orphan(started):
    process = started()
    process.kill()
    process.wait()
    assert none_left(process)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_once_finishes_the_step_and_saves(lorica, started, endless, output, how):
    process = started()
    process.send_signal(how)
    result = ended(process)
    assert result.code == 0, result.text
    done = steps_done(output)
    assert (output / f"checkpoint-{done}").is_dir() and "interrupted after step" in result.err
    assert none_left(process)
    lorica.ok(*instead(endless, "--max_steps", str(done + 2)), "--world_size", WORLD, "--resume")
    assert steps_done(output) == done + 2


def test_interrupted_before_it_began(lorica, endless, output):
    process = lorica.start(*endless, "--world_size", WORLD)
    assert wait_until(lambda: len(children_by_rank(process.pid)) == WORLD)
    process.ranks = children_by_rank(process.pid)
    process.send_signal(signal.SIGINT)
    result = ended(process, ALL_OUT)
    assert result.code in (0, 130), result.text
    assert not error_lines(result) and none_left(process)


def test_port_in_use(lorica, training, output):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = lorica(*training, "--world_size", "2", "--master_port", port)
    refused(result, f"port {port} is in use", "--master_port", output=output)
    assert len(error_lines(result)) == 1


def test_a_mistake_is_told_once(lorica, training, output):
    result = lorica(*training, "--world_size", WORLD, "--model_name", "/nowhere/model")
    refused(result, "error: ", "/nowhere/model", output=output)
    assert len(error_lines(result)) == 1 and is_quiet(result)


def test_full_disk_stops_all(lorica, training, mount):  # noqa: F811
    disk = mount("disk", "size=64m")
    out = disk / "out"
    result = lorica(*instead(training, "--max_steps", "400"), "--output_dir", out, "--num_epochs", "100", "--save_steps", "3",
                    "--save_total_limit", "0", "--lora_rank", "64", "--world_size", "2")
    refused(result, str(disk), "space")
    assert len(error_lines(result)) == 1 and is_quiet(result)
    assert not (out / "final").exists() and list(out.glob("checkpoint-*"))


# Started by somebody else.


def test_foreign_launcher(lorica, training, output):
    results = start_separately(lorica, training, 2).results()
    assert [result.code for result in results] == [0, 0], results
    assert len(metrics(output)) == 6


def test_wrong_number_of_processes(lorica, training):
    def change(rank, variables, words):
        if rank == 1:
            variables["WORLD_SIZE"] = "3"

    for result in start_separately(lorica, training, 2, change).results(ALL_OUT):
        assert result.code in (1, 2)
        assert "rank 1 was told that there are 3 processes, rank 0 that there are 2" in result.err


def test_one_that_does_not_come_is_named(lorica, training):
    def change(rank, variables, words):
        variables["WORLD_SIZE"] = "3"

    for result in start_separately(lorica, [*training, "--peer_timeout", "0.3"], 2, change).results(ALL_OUT):
        assert result.code == 1 and "rank 2 of 3 processes didn't come" in result.err


def test_different_configurations_are_refused(lorica, training, output):
    def change(rank, variables, words):
        if rank == 1:
            words[:] = instead(words, "--lr", "2e-3")

    for result in start_separately(lorica, training, 2, change).results(ALL_OUT):
        refused(result, "different configurations", "lr: ", "for rank 0", "0.002 for rank 1", output=output)


def test_killed_process_is_named_by_all_others(lorica, endless, output):
    group = start_separately(lorica, endless, WORLD)
    wait_for_step(group.processes[0], output, 3)
    group.processes[2].kill()
    results = group.results(ALL_OUT)
    for result in results[:2]:
        assert result.code == 1 and is_quiet(result)
        assert any(line.startswith("error: rank 2 (host ") for line in error_lines(result)), result.err


def test_killed_rank_0_is_named_by_all_others(lorica, endless, output):
    group = start_separately(lorica, endless, WORLD)
    wait_for_step(group.processes[0], output, 3)
    group.processes[0].kill()
    for result in group.results(ALL_OUT)[1:]:
        assert result.code == 1 and is_quiet(result)
        assert "error: lost contact with rank 0 at 127.0.0.1:" in result.err


@pytest.mark.alone
@pytest.mark.parametrize("slow", [0, 1])
def test_process_that_stands_still_for_a_while_is_waited_for(lorica, endless, output, slow):
    group = start_separately(lorica, [*endless, "--peer_timeout", "8"], 2)
    wait_for_step(group.processes[0], output, 3)
    group.processes[slow].send_signal(signal.SIGSTOP)
    time.sleep(3)
    group.processes[slow].send_signal(signal.SIGCONT)
    wait_for_step(group.processes[0], output, steps_done(output) + 3)
    for process in group.processes:
        process.send_signal(signal.SIGTERM)
    assert [result.code for result in group.results()] == [0, 0]


@pytest.mark.alone
def test_process_that_stands_still_for_too_long_is_named(lorica, endless, output):
    group = start_separately(lorica, [*endless, "--peer_timeout", "3"], WORLD)
    wait_for_step(group.processes[0], output, 3)
    group.processes[1].send_signal(signal.SIGSTOP)
    for rank in (0, 2):
        result = ended(group.processes[rank], ALL_OUT)
        assert result.code == 1
        assert "rank 1 (host " in result.err and "stopped answering for 3 s" in result.err
    group.processes[1].send_signal(signal.SIGCONT)
    assert ended(group.processes[1], ALL_OUT).code == 1


@pytest.mark.alone
def test_stopped_child_of_our_launcher_is_killed(started):
    process = started("--peer_timeout", "3")
    os.kill(process.ranks[1], signal.SIGSTOP)
    result = ended(process, ALL_OUT)
    assert result.code == 1 and len(error_lines(result)) == 1
    assert "error: rank 1 (host " in result.err and "stopped answering" in result.err
    assert none_left(process)


def test_clocks_that_differ_by_hours(lorica, training, output):
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed")

    # The clock on the wall alone: what counts seconds since the start differs between hosts anyway, and libfaketime can't fake it for waits inside the kernel.
    def wrap(rank, command):
        return ["env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f", "+5h" if rank == 1 else "-3h", *command]

    results = start_separately(lorica, training, 2, wrap=wrap).results()
    assert [result.code for result in results] == [0, 0], results
    assert len(metrics(output)) == 6


def test_torchruns_own_store_is_joined(lorica, training, output):
    """torchrun's agent is the store; rank 0 only connects to it."""
    store = subprocess.Popen(
        [sys.executable, "-c",
         "import sys, torch.distributed as d\n"
         "store = d.TCPStore('127.0.0.1', int(sys.argv[1]), is_master=True, wait_for_workers=False)\n"
         "print('open', flush=True)\nsys.stdin.read()", str(port := free_port())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        if store.stdout.readline() != "open\n":
            pytest.skip("this Python has no torch")
        def change(rank, variables, words):
            variables["TORCHELASTIC_USE_AGENT_STORE"] = "True"

        for restart in ("0", "1"):
            results = start_separately(lorica, [*training, "--overwrite_output_dir"], 2, change, master_port=port,
                                       torchelastic_restart_count=restart).results()
            assert [result.code for result in results] == [0, 0], results
    finally:
        store.kill()
