"""The operator library: functions on arrays, and the specs and operators behind them.

Functions run on the device of the current environment. Threads may call them at the same time: each
operator is compiled once, and a device runs one call at a time. Every thread has its own current
environment.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import inspect
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, Unpack

import numpy as np

from vta.calls import check_calls
from vta.compiler.ir.timing import TIMING
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
    ScaledAdd,
    Spec,
    Tiling,
    pack_bias,
    pack_data,
    pack_weight,
    unpack_data,
)
from vta.compiler.operators.shape_arguments import Size
from vta.compiler.te.dtypes import INT8, items_of
from vta.driver.backends import open_device
from vta.driver.device import Device
from vta.driver.ndarray import NDArray
from vta.driver.session import Session
from vta.environment import get_env
from vta.errors import ArgumentError

if TYPE_CHECKING:
    from vta.config import Config
    from vta.program import RunReport

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

Array = np.ndarray[Any, Any]
P = ParamSpec("P")


def compile(spec: Spec, *, latency: int = TIMING.latency) -> Operator:
    """The operator for the current configuration; repeated calls return the same object.

    The search expects a memory that answers after `latency` cycles.
    """
    if not isinstance(spec, Spec):
        raise ArgumentError(f"compile takes a spec, such as Conv2d(...), not {spec!r}")
    return _compiled(spec, get_env().config, latency)


def run(
    operator: Operator, *arrays: object, device: Device | Session | None = None
) -> tuple[Array, RunReport]:
    """An operator's result, and the report of its run (cycles, on targets that have a clock).

    Parameters
    ----------
    operator : Operator
    arrays : arrays
        The operands.
    device : Device or session, optional
        The default is a device that the process keeps for the operator's configuration.
    """
    if not isinstance(operator, Operator):
        raise ArgumentError(f"run takes an Operator, from vta.top.compile, not {operator!r}")
    chosen = _device_of(device) if device is not None else _device(operator.config)
    outputs, report = chosen.call(operator.program, operator.pack(*map(_numpy, arrays)))
    return operator.unpack(*outputs), report


class EpilogueOptions(TypedDict, total=False):
    """The fields of an `Epilogue` that every function takes; the arrays decide about the others."""

    shift: int
    rounding: bool
    relu: bool
    clip: bool
    zero_point: int
    lower: int


def _operator(function: Callable[P, Array]) -> Callable[P, Array]:
    """Shows the epilogue's options in the function's signature instead of ``**options``."""
    signature = inspect.signature(function)
    options = inspect.signature(Epilogue).parameters
    shown = [item for item in signature.parameters.values() if item.kind is not item.VAR_KEYWORD]
    shown += [options[name] for name in EpilogueOptions.__annotations__]
    function.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    return function


@_operator
def dense(
    data: Any,
    weight: Any,
    bias: Any = None,
    *,
    input_zero_point: int = 0,
    scale: Any = None,
    epilogue: Epilogue | None = None,
    device: Device | Session | None = None,
    **options: Unpack[EpilogueOptions],
) -> Array:
    """int8(clip((data @ weight.T + bias) >> shift)).

    Parameters
    ----------
    data : (M, K) int8
    weight : (N, K) int8
    bias : (N,) int32, optional
    scale : float or (N,) float32, optional
        Requantises the sums, instead of shift, rounding and clip (see `Epilogue`).
    input_zero_point : int
        The number in `data` that stands for 0.
    epilogue : Epilogue, optional
    device : Device or session, optional
    shift, rounding, relu, clip, zero_point, lower
        The fields of an `Epilogue`, instead of `epilogue`.

    Returns
    -------
    (M, N) int8
    """
    arrays = _arrays([data, weight], bias, scale)
    spec = Dense(
        arrays[0].shape,
        arrays[1].shape,
        epilogue=_epilogue(bias, scale, epilogue, options),
        input_zero_point=input_zero_point,
    )
    return _call(spec, arrays, device)


@_operator
def conv2d(
    data: Any,
    weight: Any,
    bias: Any = None,
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    input_zero_point: int = 0,
    scale: Any = None,
    epilogue: Epilogue | None = None,
    device: Device | Session | None = None,
    **options: Unpack[EpilogueOptions],
) -> Array:
    """A convolution, perhaps grouped or depthwise (a correlation, as usual in deep learning).

    Parameters
    ----------
    data : (N, C, H, W) int8
    weight : (O, C / groups, KH, KW) int8
    bias : (O,) int32, optional
    scale : float or (O,) float32, optional
    stride, dilation : int or (y, x)
    padding : int, (y, x) or (top, left, bottom, right)
    groups : int
        C for a depthwise convolution.
    input_zero_point : int
        The number in `data` that stands for 0; the padding has it too.
    epilogue, device, shift, rounding, relu, clip, zero_point, lower
        As in `dense`.

    Returns
    -------
    (N, O, OH, OW) int8
    """
    arrays = _arrays([data, weight], bias, scale)
    spec = Conv2d(
        arrays[0].shape,
        arrays[1].shape,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        input_zero_point=input_zero_point,
        epilogue=_epilogue(bias, scale, epilogue, options),
    )
    return _call(spec, arrays, device)


@_operator
def conv2d_transpose(
    data: Any,
    weight: Any,
    bias: Any = None,
    *,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    scale: Any = None,
    epilogue: Epilogue | None = None,
    device: Device | Session | None = None,
    **options: Unpack[EpilogueOptions],
) -> Array:
    """A transposed convolution ("deconvolution").

    Parameters
    ----------
    data : (N, C, H, W) int8
    weight : (C, O / groups, KH, KW) int8
    bias : (O,) int32, optional
    scale : float or (O,) float32, optional
    stride, dilation : int or (y, x)
    padding : int, (y, x) or (top, left, bottom, right)
        Rows and columns cut off the output.
    output_padding : int or (y, x)
        Rows and columns added to the output at the bottom and at the right.
    groups : int
    epilogue, device, shift, rounding, relu, clip, zero_point, lower
        As in `dense`.

    Returns
    -------
    (N, O, OH, OW) int8, OH = (H - 1) stride - padding + (KH - 1) dilation + 1 + output_padding
    """
    arrays = _arrays([data, weight], bias, scale)
    spec = Conv2dTranspose(
        arrays[0].shape,
        arrays[1].shape,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
        groups=groups,
        epilogue=_epilogue(bias, scale, epilogue, options),
    )
    return _call(spec, arrays, device)


@_operator
def max_pool2d(
    data: Any,
    window: Size,
    *,
    bias: Any = None,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    scale: Any = None,
    epilogue: Epilogue | None = None,
    device: Device | Session | None = None,
    **options: Unpack[EpilogueOptions],
) -> Array:
    """The largest number of each window of (N, C, H, W) int8 `data`; padding does not count.

    `stride` defaults to the window's size. `bias` (C,), `scale`, `shift` and the rest apply to the
    pooled numbers, as in `dense`.
    """
    arrays = _arrays([data], bias, scale)
    spec = MaxPool2d(
        arrays[0].shape,
        window,
        stride=stride,
        padding=padding,
        dilation=dilation,
        epilogue=_epilogue(bias, scale, epilogue, options),
    )
    return _call(spec, arrays, device)


@_operator
def avg_pool2d(
    data: Any,
    window: Size,
    *,
    bias: Any = None,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    count_include_pad: bool = True,
    input_zero_point: int = 0,
    scale: Any = None,
    epilogue: Epilogue | None = None,
    device: Device | Session | None = None,
    **options: Unpack[EpilogueOptions],
) -> Array:
    """The average of each window of (N, C, H, W) int8 `data`, rounded to nearest, ties upwards.

    The padding counts unless `count_include_pad` is False. With `scale`, the sum of each window
    less `input_zero_point` for each of its numbers is requantised: the scale includes the division
    by their count. The other arguments are those of `max_pool2d`.
    """
    arrays = _arrays([data], bias, scale)
    spec = AvgPool2d(
        arrays[0].shape,
        window,
        stride=stride,
        padding=padding,
        dilation=dilation,
        count_include_pad=count_include_pad,
        input_zero_point=input_zero_point,
        epilogue=_epilogue(bias, scale, epilogue, options),
    )
    return _call(spec, arrays, device)


@_operator
def add(
    a: Any,
    b: Any,
    *,
    bias: Any = None,
    scales: tuple[float, float, float] | None = None,
    zero_points: tuple[int, int, int] = (0, 0, 0),
    scale: Any = None,
    epilogue: Epilogue | None = None,
    device: Device | Session | None = None,
    **options: Unpack[EpilogueOptions],
) -> Array:
    """int8(clip((a + b + bias) >> shift)) of int8 arrays of the same shape.

    `bias`, int32, and `scale`, float32, have one number for each index of the second dimension. The
    other arguments are those of `dense`. With `scales` and `zero_points`, of `a`, `b` and the
    result, it is `ScaledAdd`.
    """
    arrays = _arrays([a, b], bias, scale)
    if scales is not None:
        others = dict(options, bias=bias, scale=scale, epilogue=epilogue)
        lower = others.pop("lower", INT8[0])
        wrong = [name for name, value in others.items() if value is not None]
        if wrong:
            raise ArgumentError(f"{', '.join(wrong)} must be left out where there are scales")
        spec = ScaledAdd(arrays[0].shape, scales, zero_points=zero_points, lower=lower)
        return _call(spec, arrays, device)
    if items_of(zero_points) != (0, 0, 0):
        raise ArgumentError("zero_points must be left out where there are no scales")
    return _call(
        Add(arrays[0].shape, epilogue=_epilogue(bias, scale, epilogue, options)), arrays, device
    )


@_operator
def multiply(
    a: Any,
    b: Any,
    *,
    bias: Any = None,
    scale: Any = None,
    epilogue: Epilogue | None = None,
    device: Device | Session | None = None,
    **options: Unpack[EpilogueOptions],
) -> Array:
    """int8(clip((a * b + bias) >> shift)), otherwise like `add`."""
    arrays = _arrays([a, b], bias, scale)
    return _call(
        Multiply(arrays[0].shape, epilogue=_epilogue(bias, scale, epilogue, options)),
        arrays,
        device,
    )


def _epilogue(bias: Any, scale: Any, given: Epilogue | None, options: EpilogueOptions) -> Epilogue:
    """The epilogue from a function's arguments; unknown options raise a TypeError."""
    if given is None:
        return Epilogue(bias=bias is not None, scale=scale is not None, **options)
    if options:
        raise ArgumentError(f"{', '.join(options)} must be given in the epilogue, not beside it")
    if not isinstance(given, Epilogue):
        raise ArgumentError(f"epilogue must be an Epilogue, not {given!r}")
    if given.bias and bias is None:
        raise ArgumentError("bias must be given, because the epilogue adds one")
    if given.scale and scale is None:
        raise ArgumentError("scale must be given, because the epilogue requantises")
    return dataclasses.replace(given, bias=bias is not None, scale=scale is not None)


def _call(spec: Spec, arrays: list[Array], device: Device | Session | None) -> Array:
    config = get_env().config if device is None else _device_of(device).config
    return run(_compiled(spec, config), *arrays, device=device)[0]


class _Slot:
    """A place for a compiled operator; the thread that holds the lock may compile it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.operator: Operator | None = None


_slots_lock = threading.Lock()
_devices_lock = threading.Lock()


@functools.lru_cache(maxsize=256)
def _slot(spec: Spec, config: Config, latency: int) -> _Slot:
    return _Slot()


def _compiled(spec: Spec, config: Config, latency: int = TIMING.latency) -> Operator:
    """The operator, compiled only once even if several threads ask at the same time."""
    with _slots_lock:
        slot = _slot(spec, config, latency)
    with slot.lock:
        if slot.operator is None:
            slot.operator = spec.compile(config, latency=latency)
        return slot.operator


def _device(config: Config) -> Device:
    """The process's device for a configuration, open until the process ends."""
    with _devices_lock:
        return _opened(config)


@functools.cache
def _opened(config: Config) -> Device:
    device = open_device(config)
    atexit.register(device.close)
    return device


def _arrays(arrays: list[Any], bias: Any, scale: Any) -> list[Array]:
    """Operands as numpy arrays; the bias and the scale may be missing."""
    given = (array for array in (bias, scale) if array is not None)
    return [_numpy(array) for array in (*arrays, *given)]


def _numpy(array: Any) -> Array:
    if isinstance(array, NDArray):
        return array.numpy()
    if isinstance(array, np.ma.MaskedArray):
        raise ArgumentError(
            "an operand must have no mask; give masked elements a value by .filled(value)"
        )
    try:
        found = np.asarray(array)
    except (ValueError, TypeError):
        found = np.asarray(None)
    if found.dtype.kind not in "biuf":
        raise ArgumentError(f"an operand must be an array of numbers, not {array!r}")
    return found


def _device_of(device: object) -> Device:
    """The given device, or the device of the given session."""
    if isinstance(device, Session):
        return device.machine
    if not isinstance(device, Device):
        raise ArgumentError(
            f"device must be a device or a session, not {device!r}; TARGET in the "
            "configuration chooses between sim and tsim"
        )
    return device


check_calls("top.", globals(), __all__)
