"""Data sets in their original files, as tensors of normalised inputs and labels."""

import gzip
import pathlib
from dataclasses import dataclass

import numpy as np
import torch

NAMES = ("fashion-mnist", "fashion-mnist-10k", "cifar10")


@dataclass
class Data:
    """Inputs are NCHW, normalised per channel with the mean and standard deviation of the training images."""

    train: torch.Tensor
    train_labels: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.train.shape[1:])


def read_idx(path: pathlib.Path) -> np.ndarray:
    """The array of bytes in an IDX file, compressed or not."""
    packed = path.with_name(path.name + ".gz")
    raw = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    extents = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(extents)


def read_fashion_mnist(folder: pathlib.Path) -> list[np.ndarray]:
    parts = []
    for part in ("train", "t10k"):
        parts.append(read_idx(folder / f"{part}-images-idx3-ubyte")[:, None])
        parts.append(read_idx(folder / f"{part}-labels-idx1-ubyte"))
    return parts


def read_cifar10(folder: pathlib.Path) -> list[np.ndarray]:
    """The binary version: records of a label and 3×32×32 pixels."""
    inner = folder / "cifar-10-batches-bin"
    place = inner if inner.is_dir() else folder
    files = [[f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"]]
    parts = []
    for names in files:
        records = np.concatenate([np.fromfile(place / name, np.uint8).reshape(-1, 3073) for name in names])
        parts += [records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]]
    return parts


def load(name: str, folder: pathlib.Path, limit: int | None = None) -> Data:
    """The data set `name` from `folder`, with only the first `limit` training images if given."""
    read = read_cifar10 if name == "cifar10" else read_fashion_mnist
    train, train_labels, test, test_labels = read(folder)
    train, train_labels = train[:limit], train_labels[:limit]
    table = normalisation(train)
    labels = [torch.from_numpy(part.astype(np.int64)) for part in (train_labels, test_labels)]
    return Data(normalised(train, table), labels[0], normalised(test, table), labels[1])


def normalisation(images: np.ndarray) -> np.ndarray:
    """The input for every pixel value in each channel, as the trainer's `normalize: channel` computes it."""
    channels = images.shape[1]
    table = np.empty((channels, 256), np.float32)
    values = np.arange(256) / 255.0
    for channel in range(channels):
        counts = np.bincount(images[:, channel].ravel(), minlength=256)
        mean = (counts * values).sum() / counts.sum()
        variance = (counts * values**2).sum() / counts.sum() - mean**2
        table[channel] = (values - mean) / np.sqrt(variance)
    return table


def normalised(images: np.ndarray, table: np.ndarray) -> torch.Tensor:
    planes = [table[channel][images[:, channel]] for channel in range(images.shape[1])]
    return torch.from_numpy(np.stack(planes, axis=1))
