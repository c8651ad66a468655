"""Tiny, seeded, random models in Hugging Face's folder layout, for the parity and end-to-end tests.

    folder = make_model("qwen3", tmp_path / "model", layers=2, dtype="bfloat16")

Weights are drawn wide enough that logits differ from token to token, and norms and biases are far from 1 and 0, so that
a missing or misplaced one shows. Nothing here needs a network.
"""
import json
import os
import shutil
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

REPOSITORY = Path(__file__).resolve().parents[2]
BOS, EOS, PAD, UNKNOWN = "<s>", "</s>", "<pad>", "<unk>"

_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A row of the parity suite: how a tiny model of the family is made, and what else of it is compared."""
    config: type
    settings: dict = field(default_factory=dict)  # of config.json, beside or in place of those of every family
    options: tuple = ()  # more settings, each compared on its own
    targets: tuple = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    norm: float = 1.0  # what norm weights are drawn around: that which changes nothing
    ropes: tuple = ("linear_rope", "yarn", "llama3_rope", "dynamic_rope")  # of test_logits.VARIANTS


_LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 32}


def longrope(half: int) -> dict:
    return {**_LONGROPE, "short_factor": [1.0 + 0.1 * i for i in range(half)], "long_factor": [2.0 + 0.5 * i for i in range(half)]}


FAMILIES = {
    "llama": Family(transformers.LlamaConfig, options=(
        {"attention_bias": True, "mlp_bias": True}, {"num_key_value_heads": 4, "head_dim": 32}, {"num_key_value_heads": 1},
        {"hidden_act": "gelu"}, {"max_position_embeddings": 64, "rope_parameters": longrope(8)})),
    "mistral": Family(transformers.MistralConfig, {"sliding_window": None}, ({"sliding_window": 9},)),
    "qwen2": Family(transformers.Qwen2Config, options=({"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1, "layers": 3},)),
    # heads · head_dim ≠ hidden_size, as in the smaller published ones
    "qwen3": Family(transformers.Qwen3Config, {"head_dim": 32}, ({"attention_bias": True},)),
    "phi3": Family(transformers.Phi3Config, {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}, (
        {"sliding_window": 9, "num_key_value_heads": 4},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0}},
        {"max_position_embeddings": 64, "original_max_position_embeddings": 32, "rope_parameters": {**longrope(6), "partial_rotary_factor": 0.75}},
        {"max_position_embeddings": 512, "original_max_position_embeddings": 128, "rope_parameters": longrope(8)},
    ), targets=("qkv_proj", "o_proj", "gate_up_proj", "down_proj"), ropes=()),
    # Caps that bind, a scale that isn't the heads', windows in layers 0 and 2, a multiplier that no 16-bit number is.
    "gemma2": Family(transformers.Gemma2Config, {
        "head_dim": 32, "sliding_window": 9, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 4.0, "final_logit_softcapping": 6.0,
        "layers": 3, "pad_token_id": 3}, (
        {"attn_logit_softcapping": None, "final_logit_softcapping": None}, {"attention_bias": True, "layer_types": ["full_attention"] * 3},
        {"hidden_size": 72, "head_dim": 20}), norm=0.0),
}
_WORDS = (
    "the a of to and in is it you that he was for on are with as his they be at one have this from or had by hot but some "
    "what there we can out other were all your when up use word how said an each she which do their time if will way about "
    "many then them would write like so these her long make thing see him two has look more day could go come did my sound "
    "no most number who over know water than call first people may down side been now find model weight layer token train"
).split()


def build_folder() -> Path:
    """Where the C++ programs are: $LORICA_BUILD, or build/ in the repository."""
    return Path(os.environ.get("LORICA_BUILD", REPOSITORY / "build")).resolve()


def tool(name: str) -> str:
    """The path of a program built from tests/parity/tools; fails with what to do when it is missing."""
    path = build_folder() / "tools" / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is not built: run `make build`, or set LORICA_BUILD to the build folder")
    return str(path)


def sample_text(count: int = 400, seed: int = 0) -> list[str]:
    """Seeded lines of words, with digits, punctuation and a little non-ASCII text."""
    generator = torch.Generator().manual_seed(seed)
    lines = []
    for index in range(count):
        picks = torch.randint(0, len(_WORDS), (12,), generator=generator).tolist()
        line = " ".join(_WORDS[pick] for pick in picks).capitalize()
        lines.append(f"{line}, {index * 37 % 1000}: café – naïve!" if index % 10 == 0 else f"{line}.")
    return lines


@lru_cache(maxsize=None)
def _tokenizer_json(vocabulary: int) -> str:
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[UNKNOWN, BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample_text(), trainer)
    return tokenizer.to_str()


def make_tokenizer(folder: Path, vocabulary: int = 320, chat_template: str | None = _CHAT_TEMPLATE) -> Path:
    """A byte-level BPE tokenizer (ids: unk 0, bos 1, eos 2, pad 3; at least 260 tokens), as tokenizer.json and its config."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if vocabulary < 260:
        raise ValueError("256 bytes and 4 special tokens need a vocabulary of 260 or more")
    (folder / "tokenizer.json").write_text(_tokenizer_json(vocabulary), encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "unk_token": UNKNOWN,
        "add_bos_token": False,
        "model_max_length": 1024,
        "clean_up_tokenization_spaces": False,
    }
    if chat_template is not None:
        config["chat_template"] = chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return folder


def make_config(family: str, layers: int | None = None, vocabulary: int = 320, tied: bool = False, **overrides):
    """A config of `family`. `overrides` are config.json's own keys (rope_parameters, sliding_window, head_dim, …)."""
    settings = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 176,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
        "rms_norm_eps": 1e-5,
        "initializer_range": 0.02,
    }
    own = {**FAMILIES[family].settings, **overrides}
    own_layers = own.pop("layers", 2)
    settings["num_hidden_layers"] = own_layers if layers is None else layers
    settings.update(own)
    return FAMILIES[family].config(**settings)


def randomize(model: torch.nn.Module, seed: int = 0, std: float = 0.12, norm: float = 1.0) -> None:
    """Draws every parameter anew: matrices N(0, std), norms around `norm`, biases around 0 but not there."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                values = 0.3 * noise
            elif "norm" in name:
                values = norm + 0.25 * noise
            else:
                values = std * noise
            parameter.copy_(values)


def make_model(family: str, path, *, layers: int | None = None, vocabulary: int = 320, dtype: str = "float32", seed: int = 0,
               std: float = 0.12, tied: bool = False, sharded: bool = False, tokenizer: bool = True, **overrides) -> Path:
    """Writes a model folder (config.json, safetensors, tokenizer) and returns it.

    sharded: several safetensors files with an index. `overrides` go into config.json.
    """
    folder = Path(path)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = make_config(family, layers=layers, vocabulary=vocabulary, tied=tied, **overrides)
    model = transformers.AutoModelForCausalLM.from_config(config)
    randomize(model, seed, std, FAMILIES[family].norm)
    model = model.to(getattr(torch, dtype))
    model.config.dtype = getattr(torch, dtype)
    model.save_pretrained(folder, max_shard_size="100KB" if sharded else "5GB")
    if sharded and not (folder / "model.safetensors.index.json").exists():
        raise RuntimeError("the model is too small to be sharded")
    if tokenizer:
        make_tokenizer(folder, vocabulary)
    return folder


def load_model(folder, dtype: str = "float32", attention: str = "eager"):
    """The folder as transformers sees it, in evaluation mode on the CPU."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation=attention
    )
    return model.eval()


def random_tokens(count: int, vocabulary: int = 320, seed: int = 0) -> list[int]:
    """Seeded token ids, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, vocabulary, (count,), generator=generator).tolist()
