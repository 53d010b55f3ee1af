"""The operator library: functions on arrays, and the specs and operators behind them."""

from vta.calls import check_calls
from vta.compiler.operators import (
    Add,
    AvgPool2d,
    ChannelBlocking,
    Conv2d,
    Conv2dTranspose,
    Dense,
    Epilogue,
    MaxPool2d,
    Multiply,
    OperandSpec,
    Operator,
    Spec,
    Tiling,
    pack_bias,
    pack_data,
    pack_weight,
    unpack_data,
)
from vta.operators import (
    add,
    avg_pool2d,
    compile,
    conv2d,
    conv2d_transpose,
    dense,
    max_pool2d,
    multiply,
    run,
)

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
    "Spec",
    "Tiling",
    "add",
    "avg_pool2d",
    "compile",
    "conv2d",
    "conv2d_transpose",
    "dense",
    "max_pool2d",
    "multiply",
    "pack_bias",
    "pack_data",
    "pack_weight",
    "run",
    "unpack_data",
]

check_calls("top.", globals(), __all__)
