#!/usr/bin/env python3
"""Trains the jobs of `benches/sweeps/resnet20-8-jobs.yaml` with PyTorch, and prints one JSON line.

Each process of a pool trains one job after another. The processes are forked after PyTorch is imported and the data set
is in memory, so both are paid for once. After every epoch a job is evaluated as in the trainer: on the training and on
the test images.
"""

import argparse
import json
import multiprocessing
import pathlib
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch

import data
import networks
import train
from speed import LAYOUTS

EPOCHS = 2
BATCH = 128
TRAIN_SIZE = 2000
IMAGES = pathlib.Path(__file__).resolve().parents[2] / "trainer/data/fashion-mnist-10k"


@dataclass
class Worker:
    """The settings and data of a process of the pool."""

    samples: data.Data
    layout: torch.memory_format


worker: Worker


def start(given: Worker, threads: int) -> None:
    """Initialises a process of the pool."""
    global worker
    worker = given
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def job(seed: int) -> float:
    """The test accuracy of one training."""
    samples = worker.samples
    torch.manual_seed(seed)
    model = networks.build("resnet20", samples.shape).to(memory_format=worker.layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True)
    for _ in range(EPOCHS):
        train.train_epoch(model, optimizer, samples.train, samples.train_labels, BATCH)
        train.accuracy(model, samples.train, samples.train_labels)
        tested = train.accuracy(model, samples.test, samples.test_labels)
    return tested


def train_all(arguments: argparse.Namespace) -> list[float]:
    given = Worker(data.load("fashion-mnist-10k", IMAGES, TRAIN_SIZE), LAYOUTS[arguments.layout])
    # Forked processes share the arguments: nothing is copied.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(arguments.processes, context, start, (given, arguments.threads)) as pool:
        return list(pool.map(job, range(arguments.jobs)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="jobs at once")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--layout", choices=LAYOUTS, default="contiguous")
    parser.add_argument("--jobs", type=int, default=8)
    arguments = parser.parse_args()
    begun = time.perf_counter()
    accuracies = train_all(arguments)
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": round(seconds, 2), "test_accuracy": sum(accuracies) / len(accuracies)}))


if __name__ == "__main__":
    main()
