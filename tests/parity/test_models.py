"""The tiny models of models.py are usable, and Lorica reads each family's configuration as transformers does."""
import json
import subprocess

import peft.utils.constants
import pytest
import torch
import transformers
from models import FAMILIES, load_model, make_model, random_tokens, tool

VARIANTS = [(family, tied) for family in FAMILIES for tied in (False, True)]


def architecture(folder):
    result = subprocess.run([tool("architecture_table"), str(folder)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def windows(config):
    """The sliding window of each layer, 0 for none, as transformers' attention sees it."""
    types = getattr(config, "layer_types", None)
    if config.model_type == "llama":
        return [0] * config.num_hidden_layers
    if types is None:
        return [config.sliding_window or 0] * config.num_hidden_layers
    return [config.sliding_window if kind == "sliding_attention" else 0 for kind in types]


def check(folder):
    ours = architecture(folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                "vocab_size", "max_position_embeddings", "tie_word_embeddings", "initializer_range"):
        assert ours[key] == getattr(config, key), key
    assert ours["norm_eps"] == config.rms_norm_eps
    heads = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    assert ours["head_dim"] == heads
    assert ours["sliding_window"] == windows(config)
    assert ours["rope_type"] == config.rope_parameters["rope_type"]
    assert ours["rope_theta"] == config.rope_parameters["rope_theta"]
    assert ours["partial_rotary_factor"] == config.rope_parameters.get("partial_rotary_factor", 1.0)
    eos = config.eos_token_id
    assert ours["eos_ids"] == ([] if eos is None else eos if isinstance(eos, list) else [eos])
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    expected = {name: list(parameter.shape) for name, parameter in model.named_parameters()}
    assert ours["parameters"] == expected
    assert ours["parameter_count"] == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("family,tied", VARIANTS)
def test_architecture(tmp_path, family, tied):
    folder = make_model(family, tmp_path / "m", layers=3, tied=tied)
    check(folder)
    assert architecture(folder)["dtype"] == "float32"


OPTIONS = [(name, options) for name, family in FAMILIES.items() for options in family.options] + [
    ("mistral", {"sliding_window": 7, "head_dim": 24}),
    ("qwen3", {"attention_bias": True, "use_sliding_window": True, "sliding_window": 9, "layer_types": ["sliding_attention", "full_attention"]}),
]


@pytest.mark.parametrize("family,overrides", OPTIONS)
def test_family_options(tmp_path, family, overrides):
    check(make_model(family, tmp_path / "m", **overrides))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("extra", [{}, {"rope_theta": 77777.0}, {"num_key_value_heads": None},
                                   {"rope_theta": 50000.0, "rope_scaling": {"type": "linear", "factor": 2.0}}])
def test_defaults_of_absent_keys(tmp_path, family, extra):
    if family in ("mistral", "gemma2") and "num_key_value_heads" in extra:
        extra = {}  # transformers refuses a null there
    if "rope_scaling" in extra and "linear_rope" not in FAMILIES[family].ropes:
        extra = {}  # and this one
    config = {"model_type": family, "hidden_size": 256, "intermediate_size": 96, "num_hidden_layers": 2,
              "num_attention_heads": 32, "vocab_size": 64, "pad_token_id": 3, **extra}
    (tmp_path / "config.json").write_text(json.dumps(config))
    check(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_default_targets_are_pefts(tmp_path, family):
    """Where it has some; elsewhere ours are some of the family's projections."""
    table = peft.utils.constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    found = architecture(make_model(family, tmp_path / "m"))["default_targets"]
    assert found == table[family] if family in table else found and set(found) <= set(FAMILIES[family].targets)


def test_models_are_seeded_and_lively(tmp_path):
    first = load_model(make_model("qwen2", tmp_path / "a", sharded=True, dtype="bfloat16"))
    again = load_model(make_model("qwen2", tmp_path / "b", dtype="bfloat16"))
    other = load_model(make_model("qwen2", tmp_path / "c", seed=1, dtype="bfloat16"))
    assert len(list((tmp_path / "a").glob("*.safetensors"))) > 1
    tokens = torch.tensor([random_tokens(20)])
    logits = first(tokens).logits
    assert torch.equal(logits, again(tokens).logits)
    assert not torch.allclose(logits, other(tokens).logits)
    assert logits.std(dim=1).mean() > 0.5  # logits vary from position to position


def test_tokenizer_round_trips(tmp_path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(make_model("llama", tmp_path / "m"))
    text = "The model said: café, 42!"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 3)
    assert len(tokenizer) == 320
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True) \
        == "<s><|user|>\nhi</s>\n<|assistant|>\n"
