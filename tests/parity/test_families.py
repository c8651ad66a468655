"""What a user does with a model, once for each family: train (dense and in 4 bits) beside PEFT, in several processes, generate, merge.

Logits and architectural options are in test_logits.py, all layouts of one family in test_distributed.py.
"""
import json

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoTokenizer

from models import FAMILIES, load_model, make_model
from runner import largest, lorica, lorica_logits, train_metrics
from test_training import WIDE, encode, lora_config, our_arguments, peer_losses, peer_model, tokens, write_rows

STEPS = 10
PROMPT = "The people may find a sound in the water"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A family's model, rows to train on, and an adapter that changes its logits: made once."""
    made = {}

    def of(family):
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            make_model(family, folder / "model", **WIDE)
            write_rows(folder / "rows.jsonl", 80)
            lorica(*our_arguments(folder / "model", folder / "rows.jsonl", folder / "trained", False, "--max_steps", 5, "--lr", "2e-2",
                                  "--lora_rank", 4, "--lora_target_modules", "all"))
            made[family] = folder
        return made[family]

    return of


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("quantized", [False, True], ids=["lora", "qlora"])
def test_training_follows_peft(folders, tmp_path, family, quantized):
    """All projections adapted from one start: losses of 10 steps within 1e-4, so gradients of all of them agree."""
    folder = folders(family)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    examples = encode(rows, AutoTokenizer.from_pretrained(folder / "model"))
    model = peer_model(folder / "model", quantized, lora_config(target_modules=list(FAMILIES[family].targets)))
    model.save_pretrained(tmp_path / "start")
    lorica(*our_arguments(folder / "model", folder / "rows.jsonl", tmp_path / "out", quantized, "--adapter", tmp_path / "start",
                          "--shuffle", "false", "--max_steps", STEPS))
    ours = [row["loss"] for row in train_metrics(tmp_path / "out")]
    theirs = peer_losses(model, examples, STEPS)
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1e-4, list(zip(ours, theirs))
    assert theirs[0] - theirs[-1] > 0.005, "nothing was learned: the comparison would be empty"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("train_type", ["qlora", "full"])
def test_processes_and_policies_change_nothing(folders, tmp_path, family, train_type):
    """Two shards, and two stages, against one process, each with another activation policy: float additions in another order, 1e-5."""
    folder = folders(family)
    curves = []
    for layout in (["--recompute", "keep"], ["--world_size", 2, "--recompute", "selective", "--gradient_accumulation_steps", 1],
                   ["--world_size", 2, "--pipeline_stages", 2, "--recompute", "recompute"]):
        output = tmp_path / str(len(curves))
        words = our_arguments(folder / "model", folder / "rows.jsonl", output, True, "--max_steps", 6, "--save_model", "false")
        if train_type == "full":
            words = [word if word != "qlora" else "full" for word in words]
        else:
            words += ["--lora_dropout", "0.2", "--lora_rank", 4, "--lora_target_modules", "all"]
        lorica(*words, *layout)
        curves.append([(row["loss"], row["grad_norm"]) for row in train_metrics(output)])
    for curve in curves[1:]:
        for ours, one in zip(curve, curves[0], strict=True):
            assert ours == pytest.approx(one, rel=1e-4), (curve, curves[0])
            assert ours[0] == pytest.approx(one[0], rel=1e-5)


def completion(work, folder, *arguments):
    lorica("generate", "--model", folder, "--prompt", PROMPT, "--max_new_tokens", 40, "--precision", "fp32", "--backend", "cpu",
           "--output", work / "out.jsonl", *arguments)
    return json.loads((work / "out.jsonl").read_text())["completion"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapted", [False, True], ids=["base", "adapter"])
def test_generation_equals_transformers_greedy(folders, tmp_path, family, adapted):
    """The key/value cache, sliding windows included: 40 greedy tokens, id for id."""
    folder = folders(family)
    window = {"sliding_window": 8} if family == "mistral" else {}
    base = make_model(family, tmp_path / "model", **WIDE, **window) if window else folder / "model"
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    model = load_model(base)
    if adapted:
        model = peft.PeftModel.from_pretrained(model, folder / "trained" / "final").eval()
    with torch.no_grad():
        expected = model.generate(input_ids=ids, max_new_tokens=40, do_sample=False, pad_token_id=3)[0, ids.shape[1]:]
    got = completion(tmp_path, base, *(["--adapter", folder / "trained" / "final"] if adapted else []))
    assert got == tokenizer.decode(expected, skip_special_tokens=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_merge_there_and_back(folders, tmp_path, family):
    """PEFT's merge gives the same weights; transformers loads ours with no key missing or left over, and its logits are those of base + adapter."""
    folder = folders(family)
    adapter = folder / "trained" / "final"
    lorica("merge", "--model", folder / "model", "--adapter", adapter, "--output", tmp_path / "merged")
    theirs = peft.PeftModel.from_pretrained(load_model(folder / "model"), adapter).merge_and_unload().state_dict()
    ours = load_file(tmp_path / "merged" / "model.safetensors")
    assert max(largest(ours[name], theirs[name]) for name in ours) < 1e-6
    model, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32, output_loading_info=True,
                                                                      attn_implementation="eager")
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    ids = tokens()
    with torch.no_grad():
        whole, plain = model.eval()(ids).logits, load_model(folder / "model")(ids).logits
    assert largest(whole, plain) > 1e-2, "the adapter changes nothing"
    assert largest(lorica_logits(tmp_path, folder / "model", ids, "--adapter", adapter, "--precision", "fp32"), whole) < 1e-4
    assert largest(lorica_logits(tmp_path, tmp_path / "merged", ids, "--precision", "fp32"), whole) < 1e-4
