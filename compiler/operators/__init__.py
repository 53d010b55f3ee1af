"""The operator library: specs that schedule themselves (`vta.top` for users)."""

from vta.compiler.operators.conv_transpose import Conv2dTranspose
from vta.compiler.operators.convolution import Conv2d, Dense
from vta.compiler.operators.elementwise import Add, Multiply
from vta.compiler.operators.epilogue import Epilogue
from vta.compiler.operators.layout import (
    ChannelBlocking,
    pack_bias,
    pack_data,
    pack_weight,
    unpack_data,
)
from vta.compiler.operators.operator import OperandSpec, Operator, Spec
from vta.compiler.operators.pooling import AvgPool2d, MaxPool2d
from vta.compiler.operators.scaled_add import ScaledAdd
from vta.compiler.operators.tiling import Tiling

__all__ = [
    "Add",
    "AvgPool2d",
    "ChannelBlocking",
    "Conv2d",
    "Conv2dTranspose",
    "Dense",
    "Epilogue",
    "MaxPool2d",
    "Multiply",
    "OperandSpec",
    "Operator",
    "ScaledAdd",
    "Spec",
    "Tiling",
    "pack_bias",
    "pack_data",
    "pack_weight",
    "unpack_data",
]
