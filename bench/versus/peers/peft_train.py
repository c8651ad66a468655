"""The peer on one process: transformers, with PEFT and bitsandbytes where the mode asks for them. Started by ../run.

    python peers/peft_train.py FOLDER --mode qlora|lora|full [--compute float32|bfloat16] [--checkpointing | --no-checkpointing] …

Written as somebody who knows these libraries would write it, so that the comparison is fair:
- scaled_dot_product_attention, fused AdamW over the trained parameters alone, non-reentrant checkpointing, no dropout.
- A plain loop without a trainer: nothing is logged, evaluated or saved in between.
- `--compute float32`: everything that isn't quantized is float32. `--compute bfloat16` is the usual QLoRA recipe: a bfloat16 model, PEFT's
  prepare_model_for_kbit_training, bfloat16 autocast.
Prints one line of JSON: losses, seconds of each step, seconds until the first step began, peak resident bytes after loading.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import re
import time
from pathlib import Path

START = time.perf_counter()

import torch
import transformers


def peak_resident() -> int:
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024


def load_model(options) -> torch.nn.Module:
    dtype = getattr(torch, options.compute)
    arguments = {"dtype": dtype, "attn_implementation": "sdpa"}
    if options.mode == "qlora":
        arguments["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
        arguments["device_map"] = "cpu"
    return transformers.AutoModelForCausalLM.from_pretrained(options.folder / "model", **arguments)


def build(options) -> torch.nn.Module:
    model = load_model(options)
    if options.load_only:
        return model
    checkpointing = {"use_reentrant": False}
    if options.mode == "qlora":
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=options.checkpointing, gradient_checkpointing_kwargs=checkpointing)
    elif options.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=checkpointing)
        model.enable_input_require_grads()
    if options.mode != "full":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, options.folder / "adapter", is_trainable=True, autocast_adapter_dtype=options.mode == "qlora")
    return model.train()


def rows_of(options) -> list[list[int]]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.folder / "model")
    lines = (options.folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [tokenizer(json.loads(line)["text"], add_special_tokens=False).input_ids[: options.tokens] for line in lines]
    assert all(len(row) == options.tokens for row in rows), "a row is too short"
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mode", choices=("qlora", "lora", "full"), required=True)
    parser.add_argument("--compute", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--checkpointing", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--load-only", action="store_true", help="load and quantize, and no more")
    options = parser.parse_args()
    imported = time.perf_counter()
    model = build(options)
    loaded, loaded_seconds = peak_resident(), time.perf_counter() - imported
    report = {"loaded": loaded, "load_seconds": loaded_seconds, "torch": torch.__version__, "transformers": transformers.__version__, "threads": torch.get_num_threads()}
    if options.load_only:
        print(json.dumps({"losses": [], "seconds": []} | report), flush=True)
        return
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=options.lr, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1, fused=True)
    rows = rows_of(options)
    losses, seconds = [], []
    autocast = torch.autocast("cpu", torch.bfloat16) if options.compute == "bfloat16" else contextlib.nullcontext()
    report["before_first_step"] = time.perf_counter() - START
    for step in range(options.steps):
        ids = torch.tensor([rows[step % len(rows)]])
        start = time.perf_counter()
        with autocast:
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"losses": losses, "seconds": seconds} | report), flush=True)


if __name__ == "__main__":
    main()
