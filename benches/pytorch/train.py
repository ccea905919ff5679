#!/usr/bin/env python3
"""Trains one network on one data set as the trainer does, and prints one JSON line per epoch.

The first line holds the settings. Plain cross entropy, SGD with a constant learning rate, no augmentation, no label
noise; every epoch sees each sample once, so the last batch may be smaller.
"""

import argparse
import json
import pathlib
import time

import torch
from torch import nn
from torch.nn import functional as F

import data
import networks

EVALUATED = 250


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, labels: torch.Tensor, batch_size: int
) -> float:
    """One pass over the samples in a new order; the mean loss."""
    model.train()
    total = 0.0
    for samples in torch.randperm(len(inputs)).split(batch_size):
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(inputs[samples]), labels[samples])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(samples)
    return total / len(inputs)


@torch.inference_mode()
def accuracy(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    parts = zip(inputs.split(EVALUATED), labels.split(EVALUATED), strict=True)
    return sum((model(x).argmax(1) == y).sum().item() for x, y in parts) / len(inputs)


def train(arguments: argparse.Namespace, seed: int, samples: data.Data) -> None:
    torch.manual_seed(seed)
    model = networks.build(arguments.network, samples.shape, dropout=arguments.dropout)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=arguments.lr, momentum=arguments.momentum, weight_decay=arguments.weight_decay
    )
    for epoch in range(1, arguments.epochs + 1):
        begun = time.perf_counter()
        loss = train_epoch(model, optimizer, samples.train, samples.train_labels, arguments.batch)
        seconds = time.perf_counter() - begun
        line = {
            "seed": seed,
            "epoch": epoch,
            "test_accuracy": accuracy(model, samples.test, samples.test_labels),
            "train_loss": loss,
            "images_per_second": round(len(samples.train) / seconds, 1),
        }
        print(json.dumps(line), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=networks.BUILDERS)
    parser.add_argument("dataset", choices=data.NAMES)
    parser.add_argument("folder", type=pathlib.Path, help="where the data set's original files are")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--dropout", type=float, default=0.5, help="of the network cnn; the others have none")
    parser.add_argument("--limit", type=int, help="train on the first so many images only")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    samples = data.load(arguments.dataset, arguments.folder, arguments.limit)
    settings = {key: value for key, value in vars(arguments).items() if key != "folder"}
    settings |= {"train": len(samples.train), "test": len(samples.test), "torch": torch.__version__}
    print(json.dumps({"settings": settings}), flush=True)
    for seed in arguments.seeds:
        train(arguments, seed, samples)


if __name__ == "__main__":
    main()
