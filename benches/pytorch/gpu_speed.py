#!/usr/bin/env python3
"""Times PyTorch's training steps of one network on a GPU, and prints one JSON line.

Channels last, f32 without TF32 unless `--tf32`, cuDNN's choice by trials, the fused optimiser, the data on the GPU. A
step is forward, mean cross entropy, backward and SGD with momentum 0.9 and weight decay 5e-4. Steps are queued without
waiting, so a block of steps is timed, until its last loss.

`--mode eager` launches step by step, `compiled` goes through `torch.compile`, `graph` records a whole step as a CUDA graph
and replays it.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

import networks

CLASSES = 10
HELD = 8192


class Training:
    """A model with its data on the GPU."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        shape = networks.SHAPES[arguments.network]
        self.batch = arguments.batch
        model = networks.build(arguments.network, shape, CLASSES).cuda().to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
        self.forward = torch.compile(model) if arguments.mode == "compiled" else model
        images = torch.randn(HELD, *shape, device="cuda")
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(CLASSES, (HELD,), device="cuda")
        self.taken = 0

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        start = self.taken % (HELD // self.batch) * self.batch
        self.taken += 1
        return self.images[start : start + self.batch], self.labels[start : start + self.batch]

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.forward(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def stepper(self, mode: str) -> Callable[[], torch.Tensor]:
        """A function that queues a step and returns its loss, which is yet to be computed."""
        if mode != "graph":
            return lambda: self.step(*self.next())
        first, second = self.next()
        images, labels = first.clone(memory_format=torch.channels_last), second.clone()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(5):
                self.step(images, labels)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            loss = self.step(images, labels)

        def step() -> torch.Tensor:
            first, second = self.next()
            images.copy_(first)
            labels.copy_(second)
            graph.replay()
            return loss

        return step


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    step = Training(arguments).stepper(arguments.mode)

    def block() -> float:
        begun = time.perf_counter()
        for _ in range(arguments.block):
            loss = step()
        loss.item()
        return (time.perf_counter() - begun) / arguments.block

    for _ in range(3):
        block()
    times = [block() for _ in range(arguments.blocks)]
    median = statistics.median(times)
    return {
        "engine": f"PyTorch {torch.__version__}, {torch.cuda.get_device_name()}",
        "median_ms": median * 1e3,
        "best_ms": min(times) * 1e3,
        "images_per_second": arguments.batch / median,
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=networks.SHAPES)
    parser.add_argument("--mode", choices=["eager", "compiled", "graph"], default="eager")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--block", type=int, default=50)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--tf32", action="store_true")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    torch.backends.cuda.matmul.allow_tf32 = arguments.tf32
    torch.backends.cudnn.allow_tf32 = arguments.tf32
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    print(json.dumps(measure(arguments)))


if __name__ == "__main__":
    main()
