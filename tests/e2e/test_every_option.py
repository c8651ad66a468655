"""For every option of the table there is a run that its value changes, seen from outside; and every choice of every
option ends in a run or in a message, never in an internal error. (That an option which can't act is left aside or
refused: tests/unit/config/inaction_test.cpp, over the same table.)"""

import json
import re
from pathlib import Path

import pytest
import tiny
from conftest import ROOT, Lorica

pytestmark = pytest.mark.slow  # 200 tiny runs

COLUMNS = ["option", "names", "type", "default", "commands", "meaning", "note"]


def table() -> dict[str, dict]:
    """docs/OPTIONS.md, which a unit test keeps equal to the table."""
    rows = {}
    for line in (ROOT / "docs" / "OPTIONS.md").read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == len(COLUMNS) and cells[0].startswith("`"):
            rows[cells[0].strip("`")] = dict(zip(COLUMNS, cells))
    return rows


TABLE = table()
ACTING = [name for name, row in TABLE.items() if not row["meaning"].startswith("*")]


# What of a run shows that a value arrived.
def losses(run):
    return [(record["loss"], record["grad_norm"]) for record in run.records("train")]


def rates(run):
    return [record["lr"] for record in run.records("train")]


def steps(run):
    return [record["step"] for record in run.records("train")]


def evaluations(run):
    return [(record["step"], record["examples"]) for record in run.records("eval")]


def files(run):
    return sorted(str(path.relative_to(run.home)) for path in run.home.rglob("*") if path.is_dir() or path.suffix)


def adapter(run):
    return (run.output / "final" / "adapter_config.json").read_text()


def said(run):
    """What was printed, without figures: times, speeds, sizes."""
    return re.sub(r"[\d.,:%]+", "#", run.result.text)


def ending(run):
    return run.result.code


def printed(run):
    return run.result.out


# option: (value, what shows it, further arguments of both runs). A run has three steps unless these say otherwise.
SGD, EVALUATED, WARM = ["--optimizer", "sgd"], ["--eval_fraction", "0.25"], ["--lr_scheduler", "linear"]
QLORA, CLIPPED = ["--train_type", "qlora"], ["--apply_gradient_clipping", "true"]
TRAIN = {
    "output_dir": ("{home}/elsewhere", files), "overwrite_output_dir": ("true", ending, "--output_dir", "{taken}"),
    "timestamp_output_dir": ("true", files), "resume": ("true", ending), "seed": ("7", losses), "backend": ("cuda", ending),
    "device": ("0", ending), "device_memory_limit": ("1GiB", ending), "threads": ("2", lambda run: "(2 threads)" in run.result.text),
    "kernels": ("avx512", ending) if "avx512" not in Path("/proc/cpuinfo").read_text() else ("reference", losses),
    "stop_on_nan": ("false", ending), "verbose": ("true", said), "preset": ("qlora-evolved", rates, "--lr_scheduler", "cosine"),
    "model_name": ("nowhere", ending), "adapter": ("nowhere", ending), "train_type": ("full", losses),
    "full_fine_tune": ("true", files, *["--lora_rank", "4", "--preset", "fsdp_qlora"]), "load_in_4bit": ("true", losses),
    "load_format": ("dummy", losses), "precision": ("bf16", losses), "bf16": ("true", losses),
    "compute_dtype": ("bfloat16", losses), "n_bits": ("4", ending, *QLORA), "quant_type": ("fp4", losses, *QLORA),
    "quant_blocksize": ("256", losses, *QLORA), "double_quant": ("false", losses, *QLORA),
    "lora_rank": ("8", adapter), "lora_alpha": ("3", losses), "lora_dropout": ("0.7", losses),
    "use_rslora": ("true", losses), "lora_target_modules": ("q_proj", losses), "layers_to_transform": ("1", adapter),
    "modules_to_save": ("norm", adapter), "lora_weight_dtype": ("bfloat16", losses),
    "dataset": ("{text}", losses), "dataset_path": ("{rows}", ending, "--dataset", "alpaca"),
    "dataset_samples": ("3", losses, "--dataset", "alpaca_sample", "--dataset_path", "{rows}"),
    "dataset_format": ("text", ending), "train_on": ("all", losses), "train_on_input": ("true", losses),
    "completion_only_loss": ("false", losses), "context_length": ("56", losses), "truncation": ("error", ending, "--context_length", "56"),
    "packing": ("true", losses), "skip_bad_rows": ("true", ending, "--dataset", "{broken}"), "shuffle": ("false", losses),
    "column_mapping": ("completion=input", losses), "ignore_columns": ("input", losses),
    "prompt_column": ("input", losses), "completion_column": ("input", losses), "text_column": ("output", losses),
    "messages_column": ("output", ending),
    "reshuffle": ("false", losses, "--batch_size", "32", "--max_steps", "4"), "tokenizer_cache": ("{home}/cache", files),
    "preview": ("false", said), "eval_dataset": ("{text}", evaluations), "eval_fraction": ("0.25", evaluations),
    "eval_steps": ("1", evaluations, *EVALUATED), "evals_per_epoch": ("16", evaluations, *EVALUATED),
    "eval_samples": ("3", evaluations, *EVALUATED), "batch_size": ("2", losses),
    "gradient_accumulation_steps": ("2", losses), "num_epochs": ("2", steps, "--max_steps", "-1", "--batch_size", "32"),
    "max_steps": ("2", steps), "lr": ("0.01", rates), "optimizer": ("adam", losses, "--wd", "0.5"), "wd": ("0.9", losses, "--lr", "0.1"),
    "beta1": ("0.5", losses), "beta2": ("0.5", losses), "eps": ("0.1", losses), "momentum": ("0.9", losses, *SGD, "--lr", "1"),
    "apply_gradient_clipping": ("true", losses, "--grad_norm", "0.001", "--eps", "0.1"),
    "grad_norm": ("0.001", losses, *CLIPPED, "--eps", "0.1"), "lr_scheduler": ("cosine", rates), "warmup_steps": ("2", rates),
    "warmup_ratio": ("0.5", rates), "warmup_epochs": ("0.1", rates),
    "cosine_min_lr_ratio": ("0.9", rates, "--lr_scheduler", "cosine"), "cosine_cycles": ("2", rates, "--lr_scheduler", "cosine_with_restarts"),
    "polynomial_power": ("3", rates, "--lr_scheduler", "polynomial"), "polynomial_end_lr": ("1e-4", rates, "--lr_scheduler", "polynomial"),
    "exponential_gamma": ("0.3", rates, "--lr_scheduler", "exponential", "--warmup_steps", "0"),
    "use_gradient_checkpointing": ("false", said, "--train_type", "full"), "recompute": ("keep", said),
    "save_model": ("false", files), "save_steps": ("1", files), "checkpoint_interval_hours": ("1e-9", files),
    "save_total_limit": ("1", files, "--save_steps", "1"), "log_to": ("tensorboard", files), "log_every_n_steps": ("2", steps),
    "world_size": ("2", files), "reduce_dtype": ("bfloat16", losses, "--world_size", "2", "--wd", "0"), "rank_logs": ("{home}/logs", files), "use_ddp": ("true", ending, "--sharding_strategy", "full_shard"),
    "pipeline_stages": ("3", ending), "partition_method": ("halves", ending), "use_activation_cpu_offload": ("true", ending, "--recompute", "keep"),
    "profile_memory": ("true", files), "accelerate_config": ("nowhere.yaml", ending),
}
# Shown by the test that is about it, which says its name.
ELSEWHERE = {
    "tests/e2e/test_profiling.py": ["profile", "profiling_output", "overwrite_profiling_output", "with_stack", "with_shapes",
                                    "export_trace", "export_memory_timeline", "wait_steps", "profiler_warmup_steps",
                                    "active_steps", "repeat", "profiling_frequency"],
    "tests/e2e/test_two_hosts.py": ["master_addr", "master_port"],
    "tests/e2e/test_launch.py": ["peer_timeout"],
    "tests/parity/test_distributed.py": ["no_sync", "pipeline_interleave"],
    "tests/e2e/test_checkpoint_layouts.py": ["sharding_strategy"],
    "tests/unit/config/preset_test.cpp": ["val_set_size", "eval_strategy", "save_strategy", "logging_strategy",
                                          "lora_target_linear", "finetuning_type", "quantization_bit", "iters", "use_cpu",
                                          "disable_tqdm"],
}


class Run:
    def __init__(self, home: Path, result) -> None:
        self.home, self.output, self.result = home, home / "out", result

    def records(self, kind):
        paths = list(self.home.rglob("metrics.jsonl"))
        assert paths, self.result.text
        return [record for record in map(json.loads, paths[0].read_text().splitlines()) if record["kind"] == kind]


@pytest.fixture(scope="module")
def runs(binary, pristine, tmp_path_factory):
    """Runs by their arguments, each made once."""
    made = {}
    things = tmp_path_factory.mktemp("things")
    (things / "rows.txt").write_text("lamp rope cup " * 9)
    (things / "text.jsonl").write_text("".join(json.dumps({"text": " ".join(tiny.WORDS[n % 5:])}) + "\n" for n in range(16)))
    (things / "broken.jsonl").write_text((pristine / "rows.jsonl").read_text() + "{\n")
    taken = things / "taken"
    taken.mkdir()
    (taken / "metrics.jsonl").write_text("")
    places = {"rows": pristine / "rows.jsonl", "text": things / "text.jsonl", "broken": things / "broken.jsonl", "taken": taken}

    def run(*words):
        if words not in made:
            home = tmp_path_factory.mktemp("run")
            lorica = Lorica(binary, home)
            filled = [str(word).format(home=home, **places) for word in words]
            made[words] = Run(home, lorica(*with_defaults(filled, pristine, home)))
        return made[words]

    return run


def with_defaults(words, pristine, home):
    """Defaults for what `words` leave out (of lists, a second value would be added to the first)."""
    base = {"--model_name": pristine / "model", "--dataset": pristine / "rows.jsonl", "--output_dir": home / "out",
            "--train_type": "lora", "--max_steps": "3", "--batch_size": "4", "--lora_rank": "4", "--lr": "1e-3",
            "--precision": "fp32", "--context_length": "64", "--log_to": "stdout", "--threads": "1"}
    return ["train", *[word for pair in base.items() if pair[0] not in words for word in pair], *words]


def test_every_option_that_acts_has_a_run_here_or_a_test_of_its_own():
    elsewhere = {name for names in ELSEWHERE.values() for name in names}
    here = set(TRAIN)
    assert not here & elsewhere
    training = {name for name in ACTING if "train" in TABLE[name]["commands"]}
    missing = training - here - elsewhere - KNOWN_BY_LAYER
    assert not missing, f"say how one sees that these reach their use: {sorted(missing)}"
    for path, names in ELSEWHERE.items():
        text = (ROOT / path).read_text()
        assert not [name for name in names if name not in text], path


# Seen inside only: bytes in flight, blocks ahead, what needs a GPU; and two that change no number of a run (a word of which
# one value is built, how many micro-batches of an evaluation are in a pipeline at a time).
LAYERS = {
    "tests/unit/engine": ["logits_chunk_mb", "prefetch_blocks", "use_cpu_offload", "check_memory"],
    "tests/unit/parallel": ["hybrid_shard_size", "use_column_major_topology"],
    "tests/parity": ["low_memory"],
    "tests/unit/config": ["document_attention", "eval_gradient_accumulation_steps"],
}
KNOWN_BY_LAYER = {name for names in LAYERS.values() for name in names}


def test_what_is_seen_inside_only_is_tested_there():
    for folder, names in LAYERS.items():
        text = "".join(path.read_text() for path in (ROOT / folder).rglob("*") if path.suffix in (".cpp", ".hpp", ".py"))
        assert not [name for name in names if name not in text], folder


@pytest.mark.parametrize("option", TRAIN)
def test_reaches_its_use(runs, option):
    value, shows, *rest = TRAIN[option]
    without, given = runs(*rest), runs(*rest, f"--{option}", value)
    for run in (without, given):
        assert "internal error" not in run.result.text
    assert shows(given) != shows(without), given.result.text


def choices(row):
    """Of a cell such as "choice: auto, cpu; not built yet: mlx"."""
    found = re.match(r"(?:choice|int|list): ([a-z0-9_, -]+)", row["type"])
    return found.group(1).split(", ") if found and not found.group(1).startswith(("at least", "from", "above")) else []


CHOSEN = [name for name in ACTING if "train" in TABLE[name]["commands"] and choices(TABLE[name])]


# What a choice needs to act.
BESIDE = {"quant_type": QLORA, "quant_blocksize": QLORA, "sharding_strategy": ["--world_size", "2"], "reduce_dtype": ["--world_size", "2"]}


@pytest.mark.parametrize("option", CHOSEN)
def test_every_choice_ends_in_a_run_or_a_message(runs, option):
    for choice in choices(TABLE[option]):
        run = runs("--max_steps", "1", *BESIDE.get(option, []), f"--{option}", choice)
        assert run.result.code in (0, 2) and "internal error" not in run.result.text and "map::at" not in run.result.text, \
            f"--{option} {choice}: {run.result.text}"
