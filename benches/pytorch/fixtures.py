#!/usr/bin/env python3
"""Writes PyTorch's results of one training step of each network, for the engines' tests.

Weights, inputs and labels are not in the file but follow from a formula, so that it stays small. With wrapping 32-bit
arithmetic,

    mix(h):        h ^= h >> 16; h *= 0x85EBCA6B; h ^= h >> 13; h *= 0xC2B2AE35; h ^= h >> 16
    bits(a, i)   = mix(mix(a) + i)                        element i of array a
    unit(a, i)   = (bits(a, i) >> 12) as f32 * 2^-19 - 1  in [-1, 1), exact in f32

Array a of a network is entry a of its plan (trained ones first, then running statistics); elements are in PyTorch's
order, row by row. A value is, exact in f32 again,

    kernels, matrices                        unit * s, s the largest power of two <= 1 with s * s * fan_in <= 6
    biases of convolutions and linear layers unit / 16
    batch norm's scale, running variance     1 + unit / 4
    batch norm's shift, running mean         unit / 4
    inputs (batch, channel, row, column)     unit * 2, with a the case's `inputs`
    label i                                  bits(999, i) mod 10

The step: mean cross entropy over the batch in training mode, no dropout, no weight decay. `training` are its logits.
Then, with the running statistics that the step left, `evaluation` are the logits in evaluation mode with the weights
as they were, and `stepped` those after plain SGD (no momentum) at the learning rate `lr`.

The numbers were computed in float64. Each is beside the error that PyTorch's own float32 makes of it, so that a test
can ask for "no worse than k times PyTorch": `error` is the L2 norm of the difference and `worst` the largest one,
both absolute. (The gradient of a convolution's bias before batch norm is 0 in exact arithmetic, so nothing relative
would do.) Of an array of n numbers there are

    norm, sum   L2 norm and sum
    dot         sum of value i * unit(2000 + a, i): it changes where two values change places
    values      where n <= 64 all, else those at i * (n - 1) / 63, rounded down, for i from 0 to 63

A ReLU or max pool whose inputs are nearly tied may fall either way in float32, which changes gradients by far more
than rounding does. So the inputs of each case are chosen (`--search`) such that float32's error is a small part of
every such gap: `margin` is the least quotient of gap and the largest float32 error of that layer.
"""

import argparse
import json
import math
import pathlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import networks

LABELS = 999
PROJECTIONS = 2000
LR = 2.0**-7
KEPT = 64
TARGET = pathlib.Path(__file__).resolve().parents[2] / "engines/tests/fixtures/pytorch-gradients.json"


@dataclass
class Case:
    network: str
    shape: tuple[int, int, int]
    batch: int
    inputs: int


CASES = [
    Case("cnn", (1, 28, 28), 5, 1021),
    Case("cnn", (3, 32, 32), 5, 1090),
    Case("resnet20", (1, 28, 28), 5, 1027),
    Case("resnet20", (3, 32, 32), 5, 1023),
    Case("resnet20-projection", (1, 28, 28), 5, 1069),
    Case("resnet20-projection", (3, 32, 32), 5, 1048),
    Case("resnet18", (1, 12, 12), 5, 1045),
    Case("resnet18", (1, 28, 28), 3, 1005),
    Case("vgg16-bn", (3, 32, 32), 3, 1079),
]


def mix(h: np.ndarray) -> np.ndarray:
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def bits(array: int, count: int) -> np.ndarray:
    return mix(mix(np.array([array], np.uint32)) + np.arange(count, dtype=np.uint32))


def unit(array: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Float64 values that float32 holds exactly."""
    values = (bits(array, math.prod(shape)) >> np.uint32(12)) * 2.0**-19 - 1.0
    return torch.from_numpy(values.reshape(shape))


def kernel_scale(fan_in: int) -> float:
    scale = 1.0
    while scale * scale * fan_in > 6:
        scale /= 2
    return scale


def entries(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """The arrays of the engines' plan, in its order."""
    statistics = [(name, buffer) for name, buffer in model.named_buffers() if not name.endswith("num_batches_tracked")]
    return list(model.named_parameters()) + statistics


def is_normalisation(model: nn.Module, name: str) -> bool:
    return isinstance(model.get_submodule(name.rpartition(".")[0]), nn.BatchNorm2d)


def fill(model: nn.Module) -> None:
    with torch.no_grad():
        for array, (name, tensor) in enumerate(entries(model)):
            values = unit(array, tuple(tensor.shape))
            if tensor.dim() > 1:
                values *= kernel_scale(tensor[0].numel())
            elif not is_normalisation(model, name):
                values /= 16
            else:
                values = values / 4 + (1 if name.endswith(("weight", "running_var")) else 0)
            tensor.copy_(values)


def model_of(case: Case, dtype: torch.dtype) -> nn.Sequential:
    model = networks.build(case.network, case.shape).to(dtype)
    fill(model)
    return model


def batch_of(case: Case, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.from_numpy((bits(LABELS, case.batch) % 10).astype(np.int64))
    return (unit(case.inputs, (case.batch, *case.shape)) * 2).to(dtype), labels


def step(case: Case, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """All results of one training step by name, in float64."""
    model, (inputs, labels) = model_of(case, dtype), batch_of(case, dtype)
    training = model.train()(inputs)
    loss = F.cross_entropy(training, labels)
    loss.backward()
    found = {"loss": loss.detach(), "training": training.detach()}
    for name, tensor in entries(model):
        found[name] = tensor.detach().clone() if tensor.grad is None else tensor.grad.clone()
    with torch.no_grad():
        found["evaluation"] = model.eval()(inputs)
        for parameter in model.parameters():
            parameter -= LR * parameter.grad
        found["stepped"] = model(inputs)
    return {name: tensor.double() for name, tensor in found.items()}


def decisions(case: Case, dtype: torch.dtype) -> list[torch.Tensor]:
    """The margin of every decision of a ReLU or max pool: the distance of a value from 0, or of a maximum from the next value."""
    model, seen = model_of(case, dtype).train(), []

    def look(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        values = inputs[0].double().clone()
        if isinstance(module, nn.MaxPool2d):
            values = F.unfold(values.flatten(0, 1)[:, None], module.kernel_size, stride=module.stride)
            values = values.sort(dim=1, descending=True).values
            # Zeroes after ReLU are tied, but no gradient gets past them.
            values = torch.where(values[:, 0] > 0, values[:, 0] - values[:, 1], 1.0)
        seen.append(values)

    for module in model.modules():
        if isinstance(module, nn.ReLU | nn.MaxPool2d):
            module.register_forward_pre_hook(look)
    with torch.no_grad():
        model(batch_of(case, dtype)[0])
    return seen


def margin(case: Case) -> float:
    """The least gap of a decision over the largest error that float32 makes in that layer."""
    least = math.inf
    for exact, rounded in zip(decisions(case, torch.float64), decisions(case, torch.float32), strict=True):
        least = min(least, (exact.abs().min() / (exact - rounded).abs().max()).item())
    return least


def search(tries: int) -> None:
    """Prints the inputs of each case whose decisions are clearest."""
    for case in CASES:
        found = {inputs: margin(replace(case, inputs=inputs)) for inputs in range(1000, 1000 + tries)}
        best = max(found, key=found.__getitem__)
        print(case.network, case.shape, "inputs", best, "margin", round(found[best], 2), flush=True)


def digits(value: float) -> float:
    """The number with nine digits; a rounding error of 0 becomes 0."""
    return float(f"{value:.9g}") if abs(value) > 1e-12 else 0.0


def difference(exact: torch.Tensor, rounded: torch.Tensor) -> dict[str, float]:
    gap = exact - rounded
    return {"error": float(f"{gap.norm():.3g}"), "worst": float(f"{gap.abs().max():.3g}")}


def whole(exact: torch.Tensor, rounded: torch.Tensor) -> dict[str, Any]:
    return {"values": [digits(value) for value in exact.flatten().tolist()]} | difference(exact, rounded)


def sampled(array: int, name: str, exact: torch.Tensor, rounded: torch.Tensor) -> dict[str, Any]:
    flat = exact.flatten()
    count = len(flat)
    places = range(count) if count <= KEPT else [i * (count - 1) // (KEPT - 1) for i in range(KEPT)]
    described = {
        "name": name,
        "shape": list(exact.shape),
        "norm": digits(flat.norm().item()),
        "sum": digits(flat.sum().item()),
        "dot": digits((flat * unit(PROJECTIONS + array, (count,))).sum().item()),
    }
    return described | difference(exact, rounded) | {"values": [digits(flat[place].item()) for place in places]}


def describe(case: Case) -> dict[str, Any]:
    exact, rounded = step(case, torch.float64), step(case, torch.float32)
    model = networks.build(case.network, case.shape)
    arrays = [sampled(array, name, exact[name], rounded[name]) for array, (name, _) in enumerate(entries(model))]
    trained = len(list(model.parameters()))
    settings = {"network": case.network, "shape": case.shape, "batch": case.batch, "inputs": case.inputs, "lr": LR}
    outputs = {name: whole(exact[name], rounded[name]) for name in ("loss", "training", "evaluation", "stepped")}
    parts = {"gradients": arrays[:trained], "statistics": arrays[trained:]}
    return settings | {"margin": round(margin(case), 2)} | outputs | parts


def text(described: list[dict[str, Any]]) -> str:
    """JSON with a line for every array."""
    cases = []
    for case in described:
        lines = []
        for key, value in case.items():
            if key in ("gradients", "statistics"):
                rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in value)
                lines.append(f'"{key}": [\n{rows}\n]')
            else:
                lines.append(f'"{key}": {json.dumps(value, separators=(",", ":"))}')
        cases.append("{\n" + ",\n".join(lines) + "\n}")
    return "[\n" + ",\n".join(cases) + "\n]\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--search", type=int, metavar="TRIES", help="look for clear inputs, among so many a case")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.search:
        search(arguments.search)
        return
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text([describe(case) for case in CASES]))
    print(f"{TARGET.stat().st_size} bytes in {TARGET.name}")


if __name__ == "__main__":
    main()
