"""What a folder holds beside or against its config.json, as transformers and PEFT take it: a head of its own under
tie_word_embeddings, modules that a 4-bit checkpoint keeps in 16 bits, whole embeddings in an adapter's file.

Tolerance 1e-4 in float32, as in test_logits.py; 1e-3 where 4-bit weights are dequantized on both sides.
"""
import json

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from models import load_model, make_model, random_tokens
from runner import largest, lorica, lorica_logits, refused, train_metrics

IDS = torch.tensor([random_tokens(24, seed=3)])


def expected(model, ids=IDS):
    with torch.no_grad():
        return model(ids, use_cache=False).logits.float()


def change(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def fp32(work, model, *arguments):
    return lorica_logits(work, model, IDS, "--precision", "fp32", *arguments)


def rows(path, count=4):
    path.write_text("".join(json.dumps({"text": f"the model {index} will write more than one number"}) + "\n" for index in range(count)))
    return path


def train(model, work, *arguments):
    out = work / "run"
    text = lorica("train", "--model_name", model, "--dataset", rows(work / "rows.jsonl"), "--output_dir", out, "--precision", "fp32",
                  "--max_steps", "1", "--batch_size", "4", "--tokenizer_cache", work / "cache", "--preview", "false", *arguments)
    return out, text


def test_a_head_of_its_own_is_not_tied(tmp_path):
    model = make_model("qwen2", tmp_path / "model")
    change(model, tie_word_embeddings=True)
    assert largest(fp32(tmp_path, model), expected(load_model(model))) < 1e-4
    lorica("plan", "--model_name", model)
    run, text = train(model, tmp_path, "--train_type", "lora", "--lr", "1e-3")
    merged = tmp_path / "merged"
    text = lorica("merge", "--model_name", model, "--adapter", run / "final", "--output", merged)
    assert "tie_word_embeddings" in text and "lm_head.weight" in load_file(merged / "model.safetensors")
    assert json.loads((merged / "config.json").read_text())["tie_word_embeddings"] is False


def test_equal_tensors_stay_tied_and_a_head_alone_serves_as_embedding(tmp_path):
    model = make_model("llama", tmp_path / "model", tied=True)
    whole = expected(load_model(model))
    weights = load_file(model / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"]
    save_file(weights | {"lm_head.weight": embedding.clone()}, model / "model.safetensors", {"format": "pt"})
    assert largest(fp32(tmp_path, model), whole) < 1e-4
    del weights["model.embed_tokens.weight"]
    save_file(weights | {"lm_head.weight": embedding.clone()}, model / "model.safetensors", {"format": "pt"})
    assert largest(expected(load_model(model)), whole) == 0
    assert largest(fp32(tmp_path, model), whole) < 1e-4


@pytest.mark.parametrize("skip", [["lm_head", "model.layers.1.mlp", "model.layers.0.self_attn.o_proj"], ["model.layers.1.mlp"]],
                         ids=["dense_head", "packed_head"])
def test_modules_that_a_4_bit_checkpoint_keeps_stay_as_they_are(tmp_path, skip):
    dense = make_model("llama", tmp_path / "dense", hidden_size=128, intermediate_size=256)
    config = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                             bnb_4bit_compute_dtype=torch.float32, llm_int8_skip_modules=skip)
    peer = transformers.AutoModelForCausalLM.from_pretrained(dense, quantization_config=config, dtype=torch.float32)
    folder = tmp_path / "model"
    peer.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((dense / name).read_bytes())
    logits = expected(peer.train())  # in evaluation bitsandbytes may compute in bfloat16 (test_logits.py)
    for train_type in ("qlora", "lora"):
        assert largest(fp32(tmp_path, folder, "--train_type", train_type), logits) < 1e-3
    run, text = train(folder, tmp_path, "--train_type", "qlora", "--lr", "0", "--lora_dropout", "0")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    total = count = 0
    for line in (tmp_path / "rows.jsonl").read_text().splitlines():
        ids = torch.tensor([tokenizer(json.loads(line)["text"]).input_ids + [2]])
        total += torch.nn.functional.cross_entropy(expected(peer, ids)[0, :-1], ids[0, 1:], reduction="sum").item()
        count += ids.shape[1] - 1
    assert train_metrics(run)[0]["loss"] == pytest.approx(total / count, abs=1e-3)


@pytest.fixture(scope="module")
def with_embeddings(tmp_path_factory):
    """A base model, and an adapter in whose file PEFT saved whole, changed embeddings (save_embedding_layers)."""
    work = tmp_path_factory.mktemp("embeddings")
    model = make_model("llama", work / "model")
    torch.manual_seed(1)
    live = peft.get_peft_model(load_model(model), peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in live.named_parameters():
            if "lora_B" in name or "embed_tokens" in name or "lm_head" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    live.save_pretrained(work / "adapter", save_embedding_layers=True)
    return model, work / "adapter", expected(live.eval())


def test_embeddings_of_an_adapter_replace_the_base_models(tmp_path, with_embeddings):
    model, adapter, logits = with_embeddings
    assert largest(fp32(tmp_path, model, "--adapter", adapter), logits) < 1e-4
    lorica("merge", "--model_name", model, "--adapter", adapter, "--output", tmp_path / "merged")
    assert largest(fp32(tmp_path, tmp_path / "merged"), logits) < 1e-4
    # Trained on, they stay frozen, and are saved again with the adapter.
    run, _ = train(model, tmp_path, "--train_type", "lora", "--adapter", adapter, "--lr", "0", "--save_steps", "1")
    again = peft.PeftModel.from_pretrained(load_model(model), run / "final").eval()
    assert largest(expected(again), logits) < 1e-4
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (adapter, run / "final"))
    assert before.keys() == after.keys()
    name = "base_model.model.model.embed_tokens.weight"
    assert torch.equal(before[name], after[name])


def test_a_resized_vocabulary_is_refused_with_the_way_out(tmp_path, with_embeddings):
    model, adapter, _ = with_embeddings
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    file.parent.mkdir()
    (file.parent / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    tensors = load_file(adapter / "adapter_model.safetensors")
    for name in tensors:
        if "lora" not in name:
            tensors[name] = torch.cat([tensors[name], torch.zeros(8, 64)])
    save_file(tensors, file)
    save_file({"input_ids": IDS}, tmp_path / "ids.safetensors")
    given = ("--model_name", model, "--adapter", file.parent)
    for command in (("forward", *given, "--input", tmp_path / "ids.safetensors", "--output", tmp_path / "out.safetensors"),
                    ("merge", *given, "--output", tmp_path / "merged"), ("plan", *given),
                    ("generate", *given, "--prompt", "the model"),
                    ("train", *given, "--dataset", rows(tmp_path / "rows.jsonl"), "--output_dir", tmp_path / "run", "--tokenizer_cache",
                     tmp_path / "cache")):
        text = refused(*command)
        assert "[328, 64]" in text and "resize_token_embeddings(328)" in text
    assert not (tmp_path / "merged").exists() and not (tmp_path / "run").exists()
