"""What processes send, against the least that each strategy could do with: at most 1.02 times as much, by the engine's own count; and once by the
kernel's count of what crossed the network, which knows nothing of ours."""
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from models import build_folder, make_config, make_tokenizer, sample_text
from runner import TIMEOUT, lorica

HIDDEN, INNER, HEADS, KEY_HEADS, VOCABULARY, LAYERS, RANK = 512, 1408, 8, 4, 1024, 3, 8
STEPS, ACCUMULATION = 3, 2
SLACK = 1.02
LINEARS = [(HIDDEN, HIDDEN), (HIDDEN * KEY_HEADS // HEADS, HIDDEN), (HIDDEN * KEY_HEADS // HEADS, HIDDEN), (HIDDEN, HIDDEN),
           (INNER, HIDDEN), (INNER, HIDDEN), (HIDDEN, INNER)]  # [out, in] of a layer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """No weights: they are drawn by each process (--load_format dummy)."""
    folder = tmp_path_factory.mktemp("traffic")
    for name, tied in (("model", False), ("tied", True)):
        make_tokenizer(folder / name)
        config = make_config("llama", layers=LAYERS, vocabulary=VOCABULARY, tied=tied, hidden_size=HIDDEN, intermediate_size=INNER, num_attention_heads=HEADS,
                             num_key_value_heads=KEY_HEADS)
        (folder / name / "config.json").write_text(json.dumps({**config.to_dict(), "architectures": ["LlamaForCausalLM"]}))
    rows = "".join(json.dumps({"text": line}) + "\n" for line in sample_text(200, seed=9))
    (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    return folder


def arguments(folder, output, train_type, processes, *more, steps=STEPS, model="model"):
    words = ["train", "--model_name", folder / model, "--load_format", "dummy", "--dataset", folder / "rows.jsonl", "--output_dir", output, "--train_type", train_type,
             "--precision", "fp32", "--backend", "cpu", "--threads", 1, "--max_steps", steps, "--gradient_accumulation_steps", ACCUMULATION, "--context_length", 64,
             "--train_on", "all", "--save_model", "false", "--log_to", "none", "--preview", "false", "--world_size", processes]
    if train_type != "full":
        words += ["--lora_rank", RANK, "--lora_dropout", 0]
    return [*words, *more]


def run(folder, output, *words, **options) -> tuple[list[dict], float]:
    """What each process held and sent, and the mean number of tokens of a step."""
    lorica(*arguments(folder, output, *words, **options))
    steps = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    tokens = [step["tokens"] for step in steps if step["kind"] == "train"]
    return json.loads((output / "processes.json").read_text()), sum(tokens) / len(tokens)


@dataclass
class Block:
    stored: int  # bytes that are gathered when it is at work
    trained: int  # bytes of the gradients of what is trained in it
    uses: int  # times that it must be gathered in a micro-batch


def blocks(train_type) -> list[Block]:
    """The embedding (its backward pass reads no weights), the layers (forward, and again backward), the head (both in one go)."""
    pairs = 0 if train_type == "full" else sum(4 * RANK * (out + width) for out, width in LINEARS)
    elements = sum(out * width for out, width in LINEARS)
    norms = 2 * 4 * HIDDEN
    if train_type == "qlora":
        codes = elements // 64
        linears = elements // 2 + codes + 4 * -(-codes // 256)  # 4 bits each, a byte for 64 of them, 4 more for 256 of those
    else:
        linears = 4 * elements
    table = 4 * VOCABULARY * HIDDEN
    full = train_type == "full"
    embedding = Block(table, table if full else 0, 1)
    layer = Block(linears + norms + pairs, 4 * elements + norms if full else pairs, 2)
    head = Block(table + 4 * HIDDEN, table + 4 * HIDDEN if full else 0, 1)
    return [embedding, *[layer] * LAYERS, head]


def least_gathered(train_type, strategy, shards) -> float:
    """A process sends its shard to the others of its copy whenever a block is needed: each time anew, or once a step if blocks stay."""
    stays = strategy in ("shard_grad_op", "hybrid_shard_grad_op")
    return sum(block.stored * (1 if stays else block.uses * ACCUMULATION) for block in blocks(train_type)) * (shards - 1) / shards


def least_reduced(train_type, shards, replicas, no_sync) -> float:
    """Reduce-scatter among the shards of a copy, then all-reduce of what came out among copies (a reduce-scatter and an all-gather)."""
    gradients = sum(block.trained for block in blocks(train_type))
    once = gradients * (shards - 1) / shards + 2 * gradients / shards * (replicas - 1) / replicas
    return once * (1 if no_sync else ACCUMULATION)


def at_least(counted, least, what):
    assert counted >= 0.999 * least, f"{what}: {counted} is less than can be ({least}): the count or the formula is wrong"
    assert counted <= SLACK * least, f"{what}: {counted} against {least}, {counted / max(least, 1):.4f} times"


@pytest.mark.parametrize("train_type, strategy, processes, shards, no_sync", [
    ("lora", "full_shard", 4, 4, False),
    ("qlora", "full_shard", 2, 2, True),
    ("full", "full_shard", 2, 2, False),
    ("qlora", "shard_grad_op", 4, 4, False),
    ("full", "shard_grad_op", 2, 2, True),
    ("lora", "ddp", 4, 1, False),
    ("full", "ddp", 2, 1, True),
    ("qlora", "hybrid_full_shard", 4, 2, False),
    ("lora", "hybrid_shard_grad_op", 4, 2, True),
])
def test_strategies_send_no_more_than_they_must(folder, tmp_path, train_type, strategy, processes, shards, no_sync):
    hybrid = ["--hybrid_shard_size", shards] if strategy.startswith("hybrid") else []
    report, _ = run(folder, tmp_path / "out", train_type, processes, "--sharding_strategy", strategy, "--no_sync", str(no_sync).lower(), *hybrid)
    assert len(report) == processes
    for each in report:
        at_least(each["gathered_bytes_per_step"], least_gathered(train_type, strategy, shards), "gathered")
        at_least(each["reduced_bytes_per_step"], least_reduced(train_type, shards, processes // shards, no_sync), "reduced")
        assert each["message_bytes_per_step"] == 0


def test_stages_send_activations_and_their_gradients_only(folder, tmp_path):
    report, tokens = run(folder, tmp_path / "out", "lora", 3, "--pipeline_stages", 3)
    for each in report:
        neighbours = 1 if each["stage"] in (0, 2) else 2
        at_least(each["message_bytes_per_step"], neighbours * tokens * HIDDEN * 4, "messages")
        assert each["gathered_bytes_per_step"] == each["reduced_bytes_per_step"] == 0


def test_a_tied_embedding_is_summed_over_first_and_last_stage(folder, tmp_path):
    report, _ = run(folder, tmp_path / "out", "full", 3, "--pipeline_stages", 3, model="tied")
    for each in report:
        at_least(each["reduced_bytes_per_step"], 4 * VOCABULARY * HIDDEN if each["stage"] != 1 else 0, "reduced")


# In a network namespace of its own, with nothing but a loopback interface: brings that up, runs the command once for each number of steps, and prints the
# bytes that were sent over it in each run.
_IN_NAMESPACE = """
import fcntl, json, socket, struct, subprocess, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack('16sh', b'lo', 0x1 | 0x40))
sent = lambda: int(open('/sys/class/net/lo/statistics/tx_bytes').read())
result = []
for command in json.loads(sys.argv[1]):
    before = sent()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    result.append(sent() - before)
print(json.dumps(result))
"""


def unshare() -> list[str]:
    """A command that runs another one in a network namespace with /sys of its own; skips where that isn't permitted."""
    words = ["unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    words += ["sh", "-c", 'mount -t sysfs none /sys && exec "$@"', "sh"]
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("network namespaces are not permitted here")
    return words


def test_the_network_carries_what_is_counted(folder, tmp_path):
    """The slope between a short and a long run, so that meeting, loading and the trial drop out. TCP/IP headers, acknowledgements, Gloo's headers and signs of
    life come on top: some percent."""
    wrapper, lengths = unshare(), (3, 13)
    commands = [[str(build_folder() / "lorica"), *map(str, arguments(folder, tmp_path / str(steps), "lora", 2, "--sharding_strategy", "full_shard", steps=steps))]
                for steps in lengths]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    output = subprocess.run([*wrapper, sys.executable, "-c", _IN_NAMESPACE, json.dumps(commands)], check=True, capture_output=True, text=True, timeout=TIMEOUT,
                            env=environment).stdout
    short, long = json.loads(output)
    report = json.loads((tmp_path / str(lengths[1]) / "processes.json").read_text())
    counted = sum(each["gathered_bytes_per_step"] + each["reduced_bytes_per_step"] for each in report)
    ratio = (long - short) / (lengths[1] - lengths[0]) / counted
    assert 1 <= ratio <= 1.04, f"{ratio:.4f} of what is counted ({counted} bytes a step)"
