"""Adapters both ways: PEFT saves, Lorica reads and writes again, PEFT loads that and gives the same logits; and Lorica's
choice of modules, ranks and scales for PEFT's config forms equals PEFT's (its saved tensors are accepted or refused
by the config check of AdapterFiles).
"""
import json
import os
import pathlib
import subprocess

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from test_safetensors import test_io_program

CASES = {
    "plain": dict(target_modules=["q_proj", "v_proj"]),
    "regex": dict(target_modules=r".*\.layers\.\d+\.(self_attn\.[qk]_proj|mlp\.down_proj)"),
    "all_linear": dict(target_modules="all-linear"),
    "layers": dict(target_modules=["q_proj", "up_proj"], layers_to_transform=[1], layers_pattern="layers"),
    "one_layer": dict(target_modules=["o_proj"], layers_to_transform=0),
    "rslora": dict(target_modules=["k_proj"], use_rslora=True),
    "saved_head": dict(target_modules=["q_proj"], modules_to_save=["lm_head"]),
    "patterns": dict(target_modules=["q_proj", "k_proj"], rank_pattern={"layers.0.self_attn.q_proj": 7, "k_proj": 2},
                     alpha_pattern={"k_proj": 3}),
    "excluded": dict(target_modules=["q_proj", "k_proj"], exclude_modules=["layers.1.self_attn.k_proj"]),
    "gaussian": dict(target_modules=["q_proj"], init_lora_weights="gaussian"),
}


def base_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                        num_attention_heads=4, num_key_value_heads=2)).eval()


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(12).reshape(2, 6)).logits


@pytest.mark.parametrize("case", CASES)
def test_b23_round_trip(case, tmp_path):
    torch.manual_seed(1)
    model = get_peft_model(base_model(), LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **CASES[case])).eval()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:  # B is zero at first: then nothing would be tested
            parameter.data = torch.randn_like(parameter) * 0.1
    expected = logits(model)
    assert not torch.equal(expected, logits(base_model()))
    model.save_pretrained(tmp_path / "in")
    environment = dict(os.environ, LORICA_EXCHANGE_IN=str(tmp_path / "in"), LORICA_EXCHANGE_OUT=str(tmp_path / "out"))
    result = subprocess.run([test_io_program(), "--gtest_filter=Exchange.CopiesAnAdapter"], env=environment,
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    again = PeftModel.from_pretrained(base_model(), tmp_path / "out").eval()
    assert torch.equal(logits(again), expected)
    before = json.loads((tmp_path / "in" / "adapter_config.json").read_text())
    after = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    for key in ("target_modules", "modules_to_save", "exclude_modules"):
        for config in (before, after):
            if isinstance(config[key], list):
                config[key] = sorted(config[key])
    if isinstance(before["layers_to_transform"], int):
        before["layers_to_transform"] = [before["layers_to_transform"]]
    if isinstance(before["layers_pattern"], str):
        before["layers_pattern"] = [before["layers_pattern"]]
    assert before == after


@pytest.mark.parametrize("change", [dict(use_dora=True), dict(bias="lora_only"), dict(init_lora_weights="olora")])
def test_refuses_what_peft_saves_but_we_do_not_compute(change, tmp_path):
    model = get_peft_model(base_model(), LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", **change))
    model.save_pretrained(tmp_path / "in")
    environment = dict(os.environ, LORICA_EXCHANGE_IN=str(tmp_path / "in"), LORICA_EXCHANGE_OUT=str(tmp_path / "out"))
    result = subprocess.run([test_io_program(), "--gtest_filter=Exchange.CopiesAnAdapter"], env=environment,
                            capture_output=True, text=True)
    assert result.returncode != 0 and next(iter(change)) in result.stdout
    assert not pathlib.Path(tmp_path / "out").exists()
