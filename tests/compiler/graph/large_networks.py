"""ResNet-18, MobileNetV2 and YOLOv3-tiny with random weights."""

from __future__ import annotations

import numpy as np

from tests.compiler.graph.networks import Net
from vta.tools.bench.layers import MOBILENET_STAGES


def resnet18(size=224, width=64, classes=1000, seed=0):
    """He et al., 2015, batch normalisation folded; `width` channels after the first layer."""
    net = Net((1, 3, size, size), seed, "resnet18")
    x = net.max_pool(net.relu(net.conv("x", width, 7, 2)), 3, 2, 1)
    for stage in range(4):
        channels = width << stage
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = net.relu(net.conv(x, channels, 3, stride))
            y = net.conv(y, channels)
            if stride == 2:
                x = net.conv(x, channels, 1, 2)
            x = net.relu(net.op("Add", y, x))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    return net.model(net.dense(x, 8 * width, classes))


def mobilenet_v2(size=224, divisor=1, classes=1000, seed=0):
    """Sandler et al., 2018, batch normalisation folded; channels divided by `divisor`."""
    net = Net((1, 3, size, size), seed, "mobilenet_v2")
    x = net.clip6(net.conv("x", 32 // divisor, 3, 2))
    for expand, channels, repeats, stride in MOBILENET_STAGES:
        for index in range(repeats):
            y, inside = x, net.channels[x] * expand
            if expand > 1:
                y = net.clip6(net.conv(y, inside, 1))
            y = net.clip6(net.conv(y, inside, 3, stride if not index else 1, groups=inside))
            y = net.conv(y, channels // divisor, 1)
            x = net.op("Add", x, y) if index else y
    x = net.clip6(net.conv(x, 1280 // divisor, 1))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    return net.model(net.dense(x, 1280 // divisor, classes))


def yolo_v3_tiny(size=416, divisor=1, seed=0):
    """Redmon and Farhadi, 2018, batch normalisation folded; two outputs."""
    net = Net((1, 3, size, size), seed, "yolo_v3_tiny")

    def layer(x, channels, kernel=3):
        return net.op("LeakyRelu", net.conv(x, channels // divisor, kernel), alpha=0.1)

    x = "x"
    for channels in (16, 32, 64, 128):
        x = net.max_pool(layer(x, channels))
    early = layer(x, 256)
    x = layer(net.max_pool(early), 512)
    x = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_UPPER")
    x = layer(layer(x, 1024), 256, 1)
    coarse = net.conv(layer(x, 512), 255, 1)
    x = layer(x, 128, 1)
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    x = net.op(
        "Resize",
        x,
        "",
        scales,
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    x = net.op("Concat", x, early, axis=1, channels=(128 + 256) // divisor)
    fine = net.conv(layer(x, 256), 255, 1)
    return net.model(coarse, fine)
