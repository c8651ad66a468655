"""Optimizers against torch.optim and schedules against transformers' get_scheduler, both run live."""
import json
import subprocess

import pytest
import torch
from models import tool
from transformers import get_scheduler

UPDATES = 50
OPTIMIZERS = {
    "adamw": ("adamw", torch.optim.AdamW, {}, {}),
    "adamw-qlora": ("adamw", torch.optim.AdamW, {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-5, "weight_decay": 0.1},
                    {"betas": (0.9, 0.95), "eps": 1e-5, "weight_decay": 0.1}),
    "adamw-no-decay": ("adamw", torch.optim.AdamW, {"weight_decay": 0.0}, {"weight_decay": 0.0}),
    "adam": ("adam", torch.optim.Adam, {}, {}),
    "adam-decay": ("adam", torch.optim.Adam, {"weight_decay": 0.2}, {"weight_decay": 0.2}),
    "sgd": ("sgd", torch.optim.SGD, {}, {}),
    "sgd-momentum": ("sgd", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}, {"momentum": 0.9, "weight_decay": 0.1}),
    "adadelta": ("adadelta", torch.optim.Adadelta, {}, {}),
    "adadelta-options": ("adadelta", torch.optim.Adadelta, {"rho": 0.8, "epsilon": 1e-4, "weight_decay": 0.1},
                         {"rho": 0.8, "eps": 1e-4, "weight_decay": 0.1}),
}
# float32: the same operations in the same order. bfloat16: one rounding step (2^-8) may flip where float32 differs.
TOLERANCE = {"float32": 1e-6, "bfloat16": 2.0**-8}


def call(name, request):
    result = subprocess.run([tool(name)], input=json.dumps(request), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def lists(tensors):
    return {name: tensor.double().tolist() for name, tensor in tensors.items()}


def problem(dtype):
    """Seeded values and gradients whose scale changes over time, exact in `dtype`."""
    generator = torch.Generator().manual_seed(0)
    values = {name: torch.randn(size, generator=generator).to(dtype) for name, size in {"a": 37, "b": 5}.items()}
    gradients = [{name: (torch.randn(value.shape, generator=generator) * (1 + step % 7) / 3).to(dtype)
                  for name, value in values.items()} for step in range(UPDATES)]
    rates = [0.01 * (1.0 - step / (2 * UPDATES)) for step in range(UPDATES)]
    return values, gradients, rates


def clip(parameters, max_norm):
    if parameters[0].dtype == torch.float32:
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm).item()
    # PyTorch rounds the norm to bfloat16, three digits; ours is float32's.
    norm = torch.cat([parameter.grad.float() for parameter in parameters]).norm()
    torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm.item()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("max_norm", [0.0, 1.0])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(name, max_norm, dtype):
    kind, torch_class, ours, theirs = OPTIMIZERS[name]
    values, gradients, rates = problem(getattr(torch, dtype))
    if kind == "adadelta":
        rates = [50.0 * rate for rate in rates]  # its steps start tiny
    reply = call("optimizer_table", {"type": kind, "dtype": dtype, "rates": rates, "max_norm": max_norm,
                                     "values": lists(values), "gradients": [lists(step) for step in gradients], **ours})
    parameters = {key: value.clone().requires_grad_() for key, value in values.items()}
    optimizer = torch_class(parameters.values(), lr=rates[0], **theirs)
    norms = []
    for step, rate in zip(gradients, rates, strict=True):
        for key, parameter in parameters.items():
            parameter.grad = step[key].clone()
        norms.append(clip(list(parameters.values()), max_norm or float("inf")))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    assert reply["norms"] == pytest.approx(norms, rel=1e-6)
    for key, parameter in parameters.items():
        expected = parameter.detach().double()
        torch.testing.assert_close(torch.tensor(reply["values"][key], dtype=torch.float64), expected,
                                   rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * expected.abs().mean().item())
        assert not torch.allclose(expected, values[key].double(), rtol=0.01)  # it did move


SCHEDULES = {
    "constant": ({}, {}),
    "constant_with_warmup": ({}, {}),
    "linear": ({}, {}),
    "cosine": ({"cosine_min_ratio": 0.0}, {}),
    "cosine_with_restarts": ({"cosine_min_ratio": 0.0, "cosine_cycles": 3}, {"num_cycles": 3}),
    "polynomial": ({"polynomial_end_rate": 1e-5, "polynomial_power": 2.0}, {"lr_end": 1e-5, "power": 2.0}),
}


@pytest.mark.parametrize("warmup", [0, 1, 10])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name, warmup):
    ours, theirs = SCHEDULES[name]
    warmup = 0 if name == "constant" else warmup
    total, peak = 97, 3e-4
    factors = call("schedule_table", {"type": name, "warmup": warmup, "total": total, "peak_rate": peak, **ours})
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    scheduler = get_scheduler(name, optimizer, warmup, total, scheduler_specific_kwargs=theirs)
    expected = []
    for _ in range(total + 1):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert [peak * factor for factor in factors] == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("floor", [0.0, 0.1, 0.3])
def test_cosine_floor(floor):
    factors = call("schedule_table", {"type": "cosine", "warmup": 10, "total": 100, "cosine_min_ratio": floor})
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = get_scheduler("cosine_with_min_lr", optimizer, 10, 100, scheduler_specific_kwargs={"min_lr_rate": floor})
    expected = []
    for _ in range(101):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert factors == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_exponential():
    factors = call("schedule_table", {"type": "exponential", "warmup": 0, "total": 50, "exponential_gamma": 0.9})
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    expected = []
    for _ in range(51):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert factors == pytest.approx(expected, rel=1e-9)
