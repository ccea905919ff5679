#!/usr/bin/env python3
"""Times training steps of one network on random images in memory, and prints one JSON line.

PyTorch at its fastest: gradients set to none, weights and inputs in the layout asked for, `torch.compile` if asked
for, denormal numbers flushed, no dropout. A step is forward, mean cross entropy, backward and SGD with momentum 0.9
and weight decay 5e-4.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

import networks

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
OPTIMIZERS: dict[str, dict[str, bool]] = {
    "loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}
CLASSES = 10
BATCHES = 4


def stepper(arguments: argparse.Namespace) -> Callable[[], float]:
    """A function that trains one step and returns the loss."""
    shape, layout = networks.SHAPES[arguments.network], LAYOUTS[arguments.layout]
    model = networks.build(arguments.network, shape, CLASSES).to(memory_format=layout).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, **OPTIMIZERS[arguments.optimizer]
    )
    forward = torch.compile(model) if arguments.compile else model
    inputs = torch.randn(BATCHES, arguments.batch, *shape)
    batches = [
        (images.contiguous(memory_format=layout), torch.randint(CLASSES, (arguments.batch,))) for images in inputs
    ]
    taken = 0

    def step() -> float:
        nonlocal taken
        images, labels = batches[taken % BATCHES]
        taken += 1
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    step = stepper(arguments)
    for _ in range(arguments.warm):
        step()
    times = []
    for _ in range(arguments.steps):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    median = statistics.median(times)
    return {
        "median_ms": round(median * 1e3, 3),
        "best_ms": round(min(times) * 1e3, 3),
        "images_per_second": round(arguments.batch / median, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=networks.SHAPES)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm", type=int, default=3, help="steps that are not timed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layout", choices=LAYOUTS, default="contiguous")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="fused")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    print(json.dumps(measure(arguments)))


if __name__ == "__main__":
    main()
