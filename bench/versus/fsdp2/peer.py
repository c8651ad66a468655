"""The peer: PyTorch FSDP2 with transformers and PEFT, LoRA in float32 on CPU processes over Gloo. Started by `run`, through torchrun:

    torchrun --nproc_per_node 2 peer.py FOLDER --steps N [--loss plain|chunked] …

Written as somebody who knows FSDP2 would write it, so that the comparison is fair:
- The model is made on the meta device and sharded before it has any memory. Each process then reads only its own rows of each
  tensor, one tensor at a time (`get_slice`), so that nobody ever holds the whole model.
- `fully_shard` on each decoder layer and on the rest, resharded after forward, which is what full_shard means. (The root isn't: it is
  wanted again at once. That is FSDP2's own default and its advice.) Implicit prefetch: the next layer's all-gather runs beside compute.
- Layers are recomputed in backward with torch's checkpoint_wrapper inside fully_shard, without saving random states (dropout is 0).
- Attention is scaled_dot_product_attention, the optimizer fused AdamW over the trained parameters alone.
- `--loss chunked` computes the loss with torch 2.13's chunked linear_cross_entropy instead of transformers' own loss, which holds the logits of
  the whole sequence several times over. README.md says what else was tried.
Prints one line of JSON from rank 0: losses, seconds of each step, peak resident bytes of each process (VmHWM).
"""
from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
import transformers
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset


def read_shard(parameter: torch.nn.Parameter, path: Path, name: str) -> None:
    """This process's rows of a tensor, cast to the parameter's dtype. The file is opened anew, so that its pages don't stay mapped."""
    shape, offset = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    with safe_open(path, framework="pt") as file:
        rows = file.get_slice(name)[offset[0] : offset[0] + shape[0]] if shape[0] else torch.empty(shape)
        with torch.no_grad():
            parameter.to_local().copy_(rows)


def source_of(name: str, folder: Path) -> tuple[Path, str]:
    """Where a PEFT model's parameter is stored, and under which name."""
    name = name.replace("._checkpoint_wrapped_module", "")
    if "lora_" in name:
        return folder / "adapter" / "adapter_model.safetensors", name.replace(".default", "")
    return folder / "model" / "model.safetensors", re.sub(r"^base_model\.model\.", "", name).replace(".base_layer", "")


def build(folder: Path, mesh, options) -> torch.nn.Module:
    config = transformers.AutoConfig.from_pretrained(folder / "model")
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
        model = get_peft_model(model, LoraConfig.from_pretrained(folder / "adapter"))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    inner = model.base_model.model.model
    for index, layer in enumerate(inner.layers):
        if options.recompute == "all":
            layer = inner.layers[index] = checkpoint_wrapper(layer, preserve_rng_state=False)
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    fully_shard(model, mesh=mesh)
    model.to_empty(device="cpu")
    inner.rotary_emb = type(inner.rotary_emb)(config)  # its buffers came from the meta device with nothing in them
    for name, parameter in model.named_parameters():
        read_shard(parameter, *source_of(name, folder))
    return model.train()


def loss_of(model, ids: torch.Tensor, options) -> torch.Tensor:
    if options.loss == "plain":
        return model(input_ids=ids, labels=ids, use_cache=False).loss
    return model(input_ids=ids, use_cache=False)


def use_chunked_loss(model) -> None:
    """The causal model returns the loss itself, so that the head's weight is used inside FSDP's forward, while it is gathered."""
    causal = model.base_model.model

    def forward(input_ids, use_cache=False, **_):
        hidden = causal.model(input_ids=input_ids, use_cache=use_cache).last_hidden_state
        return F.linear_cross_entropy(hidden[0, :-1], causal.lm_head.weight, input_ids[0, 1:], options=torch.nn.LinearCrossEntropyOptions())

    causal.forward = forward


def rows_of(folder: Path, tokens: int) -> list[list[int]]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [tokenizer(json.loads(line)["text"], add_special_tokens=False).input_ids[:tokens] for line in lines]
    assert all(len(row) == tokens for row in rows), "a row is too short"
    return rows


def peak_resident() -> int:
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--loss", choices=("plain", "chunked"), default="plain")
    parser.add_argument("--recompute", choices=("all", "none"), default="all")
    parser.add_argument("--lr", type=float, default=1e-4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    model = build(options.folder, init_device_mesh("cpu", (world,)), options)
    if options.loss == "chunked":
        use_chunked_loss(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=options.lr, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1, fused=True)
    rows = rows_of(options.folder, options.tokens)
    loaded = peak_resident()
    losses, seconds = [], []
    for step in range(options.steps):
        ids = torch.tensor([rows[(step * world + rank) % len(rows)]])
        dist.barrier()
        start = time.perf_counter()
        loss = loss_of(model, ids, options)
        loss.backward()  # FSDP takes the mean over processes; all have as many tokens
        optimizer.step()
        optimizer.zero_grad()
        total = loss.detach().clone()
        dist.all_reduce(total)
        losses.append(total.item() / world)
        seconds.append(time.perf_counter() - start)
    peaks = [None] * world
    dist.all_gather_object(peaks, {"peak": peak_resident(), "loaded": loaded})
    if rank == 0:
        print(json.dumps({"losses": losses, "seconds": seconds, "peaks": [each["peak"] for each in peaks], "loaded": [each["loaded"] for each in peaks],
                          "torch": torch.__version__, "transformers": transformers.__version__}), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
