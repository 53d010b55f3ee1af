"""Whole networks on the functional simulator: every tensor is what numpy says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiler.graph.hand_made import evaluate, random_inputs
from vta.compiler.graph.int8_graph import Graph
from vta.compiler.graph.network import compile_network
from vta.compiler.graph.network_file import Network
from vta.config import PRESETS, Config
from vta.errors import NetworkError
from vta.net import Net
from vta.tools.bench.draft_network import Draft


def config(name: str) -> Config:
    return PRESETS[name].replace(hw_ver="0.0.3")


DEFAULT = config("default")


def check(graph: Graph, machine: Config = DEFAULT, seed: int = 1, keep: bool = True) -> Network:
    """Compiles and runs a graph, and compares all tensors that the host sees."""
    network = compile_network(graph, machine, keep=keep)
    values = random_inputs(graph, seed)
    wanted = evaluate(graph, values)
    with Net(network) as net:
        found = net.run_all(values)
        again = net.run_all(random_inputs(graph, seed + 1))
    assert set(graph.outputs) <= found.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)
    other = evaluate(graph, random_inputs(graph, seed + 1))
    for name in graph.outputs:
        np.testing.assert_array_equal(again[name], other[name], err_msg=name)
    return network


def hosts(network: Network) -> dict[str, str]:
    """The nodes on the host, each with its reason."""
    rows = network.report["rows"]
    return {row["op"]: row["why"] for row in rows if row["where"] == "host"}


def branches() -> Graph:
    """A residual, borders of odd zero points, a concatenation of odd channels, dense layers."""
    draft = Draft("branches")
    x = draft.input(1, 3, 20, 20, zero=-3)
    a = draft.conv(x, 20, 3, stride=2, zero=-128, scale=0.03)
    b = draft.conv(a, 20, 3, zero=5)
    c = draft.conv(b, 20, 3, groups=20, zero=7)
    e = draft.add(b, c, scale=0.05, zero=-2)
    m = draft.pool("max_pool", e, 3, 2, 1)
    k = draft.concat(m, draft.conv(m, 7, 1), m)
    n = draft.conv(k, 33, 3, zero=9)
    p = draft.pool("avg_pool", n, 5, 5, scale=0.01)
    return draft.graph(draft.dense(draft.flatten(p), 10))


def groups() -> Graph:
    """Groups that share blocks, groups that do not, a transposed convolution, a large window."""
    draft = Draft("groups")
    x = draft.input(1, 24, 9, 11, zero=-128)
    a = draft.conv(x, 48, 3, groups=2, zero=3)
    b = draft.conv(a, 24, 3, groups=4, zero=6)
    c = draft.conv(b, 12, 1, groups=2)
    d = draft.conv_transpose(b, 16, 4, 2, padding=(1, 1, 1, 1))
    e = draft.conv(d, 8, 3, dilation=2, pad=2)
    return draft.graph(c, d, draft.dense(draft.flatten(e), 17))


@pytest.mark.parametrize(
    ("name", "keep"), [("default", True), ("default", False), ("tiny", False), ("batch4", False)]
)
def test_branches(name: str, keep: bool) -> None:
    network = check(branches(), config(name), keep=keep)
    assert len(network.steps) == 1
    assert hosts(network) == {}


def test_groups() -> None:
    assert hosts(check(groups())) == {}


def test_several_inputs_and_outputs() -> None:
    draft = Draft("several")
    a, b = draft.input(1, 20, 6, 5), draft.input(1, 20, 6, 5, zero=9, scale=0.013)
    total = draft.add(a, b, scale=0.02, zero=-4)
    other = draft.conv(b, 9, 3)
    network = check(draft.graph(other, total), keep=False)
    assert set(network.inputs) == {"input_0", "input_1"}


def test_uint8_tensors() -> None:
    """Their numbers are 128 more than the accelerator's."""
    draft = Draft("unsigned")
    x = draft.input(1, 5, 9, 9, zero=131, dtype="uint8")
    y = draft.conv(x, 18, 3, zero=0)
    z = draft.pool("max_pool", y, 2, 2)
    found = check(draft.graph(draft.conv(z, 6, 3, zero=77)))
    assert found.tensors[found.outputs[0]].dtype == "uint8"


def test_limits_of_results() -> None:
    """A ReLU6 whose six lies within the range of int8."""
    draft = Draft("limits")
    x = draft.input(1, 16, 7, 7)
    y = draft.conv(x, 16, 3, lower=-20, upper=33)
    z = draft.conv(y, 16, 3, groups=16, lower=-60, upper=70)
    check(draft.graph(draft.add(y, z, zero=3, lower=-50, upper=20)))


def test_products_and_averages_without_padding() -> None:
    draft = Draft("products")
    x = draft.input(1, 20, 9, 7, zero=4)
    y = draft.conv(x, 20, 3, zero=-128)
    z = draft.node("mul", [x, y], (1, 20, 9, 7), scale=0.9, zero=-5, lower=-80)
    p = draft.pool("avg_pool", z, 3, 2, 1, count_include_pad=False, scale=0.7, zero=8)
    network = check(draft.graph(draft.conv(p, 5, 3)))
    assert hosts(network) == {}


@pytest.mark.parametrize("counted", [False, True])
def test_averages_of_numbers_that_lie_apart(counted: bool) -> None:
    """9 rows by windows of 1 and 3 are 4 windows with a stride of 2, as many as without gaps."""
    draft = Draft("apart")
    x = draft.input(1, 20, 9, 9, zero=4)
    y = draft.node(
        "avg_pool",
        [x],
        (1, 20, 4, 4),
        kernel=(2, 2),
        stride=(2, 2),
        dilation=(2, 2),
        padding=(0, 0, 0, 0),
        count_include_pad=counted,
        zero=-7,
    )
    assert hosts(check(draft.graph(y))) == {}


def test_several_images() -> None:
    draft = Draft("images")
    x = draft.input(3, 16, 7, 7)
    y = draft.conv(x, 24, 3, zero=3)
    z = draft.add(draft.conv(y, 24, 3, zero=5), y, zero=1)
    p = draft.pool("avg_pool", z, 7, 7)
    for name in ("default", "batch4"):
        check(draft.graph(draft.dense(draft.flatten(p), 5)), config(name))


def test_what_is_concatenated_and_used_elsewhere() -> None:
    draft = Draft("elsewhere")
    x = draft.input(1, 12, 6, 6)
    a, b = draft.conv(x, 12, 3), draft.conv(x, 20, 1)
    both = draft.concat(a, b)
    more = draft.concat(both, a, draft.conv(both, 5, 3))
    out = draft.conv(draft.add(a, draft.conv(more, 12, 1)), 7, 3)
    check(draft.graph(out, both), keep=False)
    check(draft.graph(out, both), keep=True)


def test_an_addition_of_other_lanes() -> None:
    draft = Draft("lanes")
    x = draft.input(1, 24, 5, 5)
    joined = draft.concat(draft.conv(x, 9, 1), draft.conv(x, 15, 1))
    plain = draft.conv(x, 24, 1)
    network = check(draft.graph(draft.add(plain, joined, scale=0.031)))
    assert any("lanes" in row["why"] for row in network.report["rows"])


def test_what_runs_on_the_host_has_a_reason() -> None:
    draft = Draft("hosts")
    x = draft.input(1, 16, 8, 8)
    a = draft.conv(x, 16, 3, zero=-7)
    b = draft.node("concat", [a, a], (1, 16, 16, 8), axis=2)
    graph = draft.graph(draft.conv(b, 4, 1))
    network = check(graph)
    found = hosts(network)
    assert found["concat"] == "it joins on axis 2, not on channels"
    assert [type(step).__name__ for step in network.steps] == [
        "MachineStep",
        "HostStep",
        "MachineStep",
    ]


def test_an_older_machine_is_refused() -> None:
    draft = Draft("old")
    graph = draft.graph(draft.conv(draft.input(1, 16, 4, 4), 16))
    with pytest.raises(NetworkError, match=r"HW_VER 0\.0\.3 .*, not 0\.0\.2: set HW_VER"):
        compile_network(graph, PRESETS["default"].replace(hw_ver="0.0.2"))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Small networks of random nodes, with random zero points."""
    draft = Draft("random", draw(st.integers(0, 1000)))
    zero = st.sampled_from([0, -128, 5, -77, 127])
    channels = st.integers(1, 40)
    size = draw(st.integers(3, 9))
    known = [draft.input(1, draw(channels), size, draw(st.integers(3, 9)), zero=draw(zero))]
    for _ in range(draw(st.integers(1, 6))):
        x = draw(st.sampled_from(known))
        shape = draft.tensors[x].shape
        alike = [name for name in known if draft.tensors[name].shape[2:] == shape[2:]]
        kind = draw(
            st.sampled_from(["conv", "depthwise", "add", "max", "avg", "concat", "grouped"])
        )
        scale = draw(st.floats(0.005, 0.2))
        if kind == "conv":
            kernel = draw(st.sampled_from([1, 2, 3]))
            stride = draw(st.sampled_from([1, 2]))
            y = draft.conv(
                x, draw(channels), kernel, stride=stride, pad=1, zero=draw(zero), scale=scale
            )
        elif kind == "depthwise":
            y = draft.conv(x, shape[1], 3, groups=shape[1], zero=draw(zero), scale=scale)
        elif kind == "grouped":
            part = draft.conv(x, 2 * draw(st.integers(1, 20)), zero=draw(zero))
            y = draft.conv(part, 6, 3, groups=2, zero=draw(zero))
        elif kind == "add":
            other = draft.conv(x, shape[1], zero=draw(zero), scale=scale)
            y = draft.add(x, other, zero=draw(zero), scale=draw(st.floats(0.01, 0.1)))
        elif kind == "concat":
            first = draft.tensors[x]
            same = [
                name
                for name in alike
                if (draft.tensors[name].scale, draft.tensors[name].zero_point)
                == (first.scale, first.zero_point)
            ]
            y = draft.concat(x, *draw(st.lists(st.sampled_from(same), max_size=2)))
        else:
            y = draft.pool(f"{kind}_pool", x, 3, draw(st.sampled_from([1, 2])), 1)
        known.append(y)
    outputs = {known[-1], *draw(st.lists(st.sampled_from(known[1:]), max_size=2))}
    return draft.graph(*sorted(outputs))


@settings(max_examples=4)
@given(graphs(), st.sampled_from(["default", "tiny"]), st.booleans())
def test_random_networks(graph: Graph, name: str, keep: bool) -> None:
    check(graph, config(name), keep=keep)


@pytest.mark.full
@settings(max_examples=300)
@given(graphs(), st.sampled_from(["default", "tiny", "small", "batch4"]), st.booleans())
def test_many_random_networks(graph: Graph, name: str, keep: bool) -> None:
    check(graph, config(name), keep=keep)
