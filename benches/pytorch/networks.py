"""The networks of `core/src/methods/networks`, layer by layer and name by name.

Every network is one `nn.Sequential` in the order of the Rust list of layers, and a block is a `Residual` with `body`
and `shortcut`: so the state dict has the names and shapes of the engines' `Plan` (`7.shortcut.1.running_var`).
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F


class Pad(nn.Module):
    """Every `stride`-th pixel, with channels of zeroes after its own (He et al. 2016, option A)."""

    def __init__(self, stride: int, more: int) -> None:
        super().__init__()
        self.stride, self.more = stride, more

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))


class Residual(nn.Module):
    """body(x) + shortcut(x)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)


def relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def normalised(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    """A convolution that keeps the extent (over its stride), and batch norm."""
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]


def block(inputs: int, outputs: int, stride: int, projection: bool) -> Residual:
    body = nn.Sequential(
        *normalised(inputs, outputs, 3, stride),
        relu(),
        *normalised(outputs, outputs, 3, 1),
    )
    if inputs == outputs and stride == 1:
        return Residual(body, nn.Identity())
    if projection:
        return Residual(body, nn.Sequential(*normalised(inputs, outputs, 1, stride)))
    return Residual(body, Pad(stride, outputs - inputs))


def resnet(channels: int, classes: int, blocks: list[int], first: int, projection: bool) -> nn.Sequential:
    layers = [*normalised(channels, first, 3, 1), relu()]
    width = first
    for stage, count in enumerate(blocks):
        for index in range(count):
            stride, outputs = (2, width * 2) if stage > 0 and index == 0 else (1, width)
            layers += [block(width, outputs, stride, projection), relu()]
            width = outputs
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def cnn(shape: tuple[int, int, int], classes: int, dropout: float) -> nn.Sequential:
    channels, height, width = shape
    left = [((extent - 4) // 2 - 4) // 2 for extent in (height, width)]
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5),
        relu(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5),
        relu(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(32 * left[0] * left[1], classes),
    )


def vgg16_bn(shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Simonyan & Zisserman 2015, configuration D with batch norm; one linear layer after the features."""
    channels, height, width = shape
    layers: list[nn.Module] = []
    for outputs, count in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]:
        for _ in range(count):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), relu()]
            channels = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * (height // 32) * (width // 32), classes))


Shape = tuple[int, int, int]

BUILDERS: dict[str, Callable[[Shape, int, float], nn.Sequential]] = {
    "cnn": cnn,
    "resnet18": lambda shape, classes, _: resnet(shape[0], classes, [2, 2, 2, 2], 64, True),
    "resnet34": lambda shape, classes, _: resnet(shape[0], classes, [3, 4, 6, 3], 64, True),
    "resnet20": lambda shape, classes, _: resnet(shape[0], classes, [3, 3, 3], 16, False),
    "resnet20-projection": lambda shape, classes, _: resnet(shape[0], classes, [3, 3, 3], 16, True),
    "vgg16-bn": lambda shape, classes, _: vgg16_bn(shape, classes),
}

# The input on which the speed of each network is measured.
SHAPES: dict[str, Shape] = {
    "cnn": (1, 28, 28),
    "resnet18": (1, 28, 28),
    "resnet34": (3, 32, 32),
    "resnet20": (3, 32, 32),
    "resnet20-projection": (3, 32, 32),
    "vgg16-bn": (3, 32, 32),
}


def build(name: str, shape: Shape, classes: int = 10, dropout: float = 0.0) -> nn.Sequential:
    """The network called `name` for images of `shape`, with its initial weights from torch's generator."""
    return BUILDERS[name](shape, classes, dropout)
