"""How many floating-point operations the matrix products of a step take (a multiplication and an addition: 2).

For T tokens in sequences of lengths s, hidden width h, vocabulary V, and each projection W of a decoder layer [out, in]:

    forward of a layer   2·T·Σ out·in                    its projections
                       + 2·T·Σ r·(in + out)              their LoRA pairs (r: rank)
                       + 4·Σ s(s+1)/2·q                  attention: q·kᵀ and weights·v over the pairs that causality leaves (q: all heads together)
    backward of a layer  2·T·Σ out·in                    the gradient of the input; as much again for that of W where W is trained (full fine-tuning)
                       + 4·T·Σ r·(in + out)              LoRA: gradients of the inputs, and of A and B
                       + 8·Σ s(s+1)/2·q                  attention: four products
    head                 2·P·V·h forward, the same for the gradient of the input, the same for that of its weight if it is trained (P: predicted tokens, T less one a sequence)
    recomputation        a forward of every layer once more (`recompute`); nothing where products are kept

Left out: the gradient of the first layer's input (q, k and v of that layer; nobody needs it unless the embedding is trained), and everything that is no matrix product.
What an implementation computes beyond this (attention's weights anew in backward, masked pairs, padding) earns it nothing.
"""
from __future__ import annotations

from shape import linear_shapes

def layer_forward(config: dict, lengths: list[int], rank: int) -> tuple[float, float, float]:
    """(projections, LoRA, attention) of one layer."""
    tokens, shapes = sum(lengths), linear_shapes(config).values()
    pairs = sum(length * (length + 1) / 2 for length in lengths)
    return (2.0 * tokens * sum(out * width for out, width in shapes), 2.0 * tokens * rank * sum(out + width for out, width in shapes), 4.0 * pairs * config["hidden_size"])


def step_flops(config: dict, lengths: list[int], *, rank: int, full: bool = False, recomputed: bool = False) -> float:
    """Of one optimizer step over sequences of these lengths. rank 0: no LoRA. full: every weight is trained."""
    base, lora, attention = layer_forward(config, lengths, rank)
    layers, tokens = config["num_hidden_layers"], sum(lengths)
    one = (base + lora + attention) * (2 if recomputed else 1) + base * (2 if full else 1) + 2 * lora + 2 * attention
    head = 2.0 * (tokens - len(lengths)) * config["vocab_size"] * config["hidden_size"] * (3 if full else 2)
    unneeded = 0.0
    if not full:
        width, shapes = config["hidden_size"], linear_shapes(config)
        unneeded = 2.0 * tokens * width * sum(shapes[f"self_attn.{name}_proj"][0] + rank for name in "qkv")
    return layers * one + head - unneeded
