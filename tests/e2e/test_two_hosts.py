"""Two machines, as two network namespaces with a cable between them, and the cable cut."""

import os
import subprocess

import pytest
from conftest import instead, metrics
from ranks import ended, is_quiet, start_separately, wait_for_step

ADDRESSES = ["10.213.7.1", "10.213.7.2"]
ALL_OUT = 120


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True)


@pytest.fixture
def hosts():
    names = [f"lorica{os.getpid()}a", f"lorica{os.getpid()}b"]
    try:
        made = ip("netns", "add", names[0])
    except FileNotFoundError:
        pytest.skip("iproute2 is not installed")
    if made.returncode != 0:
        pytest.skip(f"network namespaces are not permitted here: {made.stderr.strip()}")
    try:
        assert ip("netns", "add", names[1]).returncode == 0
        made = ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        if made.returncode != 0:
            pytest.skip(f"virtual cables are not permitted here: {made.stderr.strip()}")
        for name, address in zip(names, ADDRESSES):
            for words in (["link", "set", "lo", "up"], ["addr", "add", f"{address}/24", "dev", "cable"],
                          ["link", "set", "cable", "up"]):
                assert ip("-n", name, *words).returncode == 0
        yield names
    finally:
        for name in names:
            ip("netns", "del", name)


def start_on(hosts, lorica, arguments, local=1):
    """Processes on both hosts, `local` on each; they are told where rank 0 is and nothing else."""
    def wrap(rank, command):
        return ["ip", "netns", "exec", hosts[rank // local], *command]

    def change(rank, variables, words):
        variables["LOCAL_RANK"], variables["LOCAL_WORLD_SIZE"] = str(rank % local), str(local)

    return start_separately(lorica, arguments, 2 * local, change, wrap, master_addr=ADDRESSES[0], master_port=29511)


def test_two_hosts(hosts, lorica, training, output):
    results = start_on(hosts, lorica, training, local=2).results()
    assert [result.code for result in results] == [0] * 4, results
    assert len(metrics(output)) == 6


def test_cut_cable(hosts, lorica, training, output):
    endless = [*instead(training, "--max_steps", "100000"), "--num_epochs", "100000", "--peer_timeout", "4"]
    group = start_on(hosts, lorica, endless)
    wait_for_step(group.processes[0], output, 3)
    assert ip("-n", hosts[0], "link", "set", "cable", "down").returncode == 0
    first, second = (ended(process, ALL_OUT) for process in group.processes)
    assert first.code == second.code == 1 and is_quiet(first) and is_quiet(second)
    assert "error: rank 1 (host " in first.err and "stopped answering for 4 s" in first.err
    assert f"error: lost contact with rank 0 at {ADDRESSES[0]}:29511" in second.err
