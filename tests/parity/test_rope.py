"""Rope tables equal those of transformers' ROPE_INIT_FUNCTIONS, run live, to a few units in the last place of float32."""
import json
import subprocess

import numpy
import pytest
import torch
from models import make_config, tool
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

# torch's float32 pow is within 1 unit, its reciprocal and the products after it within half of one each. Llama 3's blend
# subtracts 1 from a ratio that carries those errors.
ULPS, BLENDED_ULPS = 3, 8
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 128}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
LONG = {"rope_type": "longrope", "original_max_position_embeddings": 128,
        "short_factor": [1.0 + 0.05 * i for i in range(32)], "long_factor": [2.0 + 0.3 * i for i in range(32)]}
CASES = {
    "default": {"rope_type": "default"},
    "default-theta": {"rope_type": "default", "rope_theta": 1000000.0},
    "linear": {"rope_type": "linear", "factor": 2.5},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "llama3": LLAMA3,
    "llama3-theta": {**LLAMA3, "rope_theta": 500000.0, "factor": 32.0},
    "yarn": YARN,
    "yarn-theta": {**YARN, "rope_theta": 1000000.0},
    "yarn-attention": {**YARN, "attention_factor": 0.8},
    "yarn-mscale": {**YARN, "mscale": 0.707, "mscale_all_dim": 1.0},
    "yarn-beta": {**YARN, "beta_fast": 16.0, "beta_slow": 2.0},
    "yarn-untruncated": {**YARN, "truncate": False},
    "longrope": LONG,
    "longrope-factor": {**LONG, "factor": 8.0},
    "longrope-attention": {**LONG, "attention_factor": 1.3},
}
LENGTHS = (1, 128, 129, 512, 513, 3000)


def expected(config, length):
    kind = config.rope_parameters["rope_type"]
    if kind == "default":
        return LlamaRotaryEmbedding.compute_default_rope_parameters(config)
    # A tensor, as the model's forward pass hands it over.
    return ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=torch.tensor(length))


def ours(path):
    result = subprocess.run([tool("rope_table"), str(path), *map(str, LENGTHS)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("old_keys", [False, True])
def test_tables(tmp_path, name, old_keys):
    config = make_config("llama", head_dim=64, rope_parameters=dict(CASES[name]))
    values = json.loads(config.to_json_string(use_diff=False))
    if old_keys:
        parameters = values.pop("rope_parameters")
        values["rope_theta"] = parameters.pop("rope_theta")
        parameters["type"] = parameters.pop("rope_type")
        values["rope_scaling"] = parameters
    (tmp_path / "config.json").write_text(json.dumps(values))
    for length, table in zip(LENGTHS, ours(tmp_path / "config.json"), strict=True):
        frequencies, scaling = expected(config, length)
        assert table["attention_scaling"] == pytest.approx(float(scaling), rel=1e-12)
        numpy.testing.assert_array_max_ulp(
            numpy.array(table["inverse_frequencies"], dtype=numpy.float32), frequencies.numpy(), maxulp=BLENDED_ULPS if "llama3" in name else ULPS)


def test_lengths_matter_where_they_should(tmp_path):
    for name, (first, last) in {"dynamic": (512, 513), "longrope": (128, 129)}.items():
        config = make_config("llama", head_dim=64, rope_parameters=dict(CASES[name]))
        (tmp_path / "config.json").write_text(config.to_json_string(use_diff=False))
        tables = dict(zip(LENGTHS, ours(tmp_path / "config.json"), strict=True))
        assert tables[first] == tables[1]
        assert tables[first] != tables[last]
