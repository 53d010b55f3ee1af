"""`vta quantize`: an int8 model from a float32 one and examples of its input."""

from __future__ import annotations

import click

from vta.cli.output import path_argument, print_table, step
from vta.cli.picture_options import picture_options
from vta.errors import NetworkError
from vta.extras import needed

__all__ = ["command"]


@click.command("quantize", short_help="Make an int8 network of a float32 one.")
@click.argument("model", metavar="MODEL.onnx", type=path_argument)
@click.option(
    "-o", "--output", metavar="FILE", type=path_argument, required=True, help="The int8 model."
)
@click.option(
    "--data",
    metavar="FOLDER|FILE.npz",
    type=path_argument,
    required=True,
    help="Examples of the input: pictures, or arrays by input with the samples along the first "
    "axis.",
)
@picture_options
@click.option(
    "--method",
    type=click.Choice(["minmax", "entropy", "percentile"]),
    default="minmax",
    show_default=True,
    help="How the range of an activation is chosen from what the examples give.",
)
@click.option(
    "--compare",
    "compares",
    is_flag=True,
    help="Also run both models on the examples, and show how well they agree.",
)
def command(
    model: str,
    output: str,
    data: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    method: str,
    compares: bool,
) -> int:
    """Quantise MODEL.onnx with ONNX Runtime, for `vta compile`. Batch normalisations and constant
    factors become part of the weights first. The result is an ordinary ONNX model with
    QuantizeLinear and DequantizeLinear: int8 weights with a scale for each channel, and int8
    activations.

    The examples decide the scales: take a few hundred that are like what the network will see.

    Example: vta quantize resnet18.onnx -o resnet18_int8.onnx --data pictures --compare
    """
    with needed("vta quantize", "onnx"):
        from vta.compiler.graph.onnx_graph import build_model
        from vta.compiler.graph.quantise_model import float_graph, quantise_model
        from vta.compiler.graph.read_model import read
        from vta.tools.quantize.agreement import compare
        from vta.tools.quantize.samples import InputShape, open_samples
    graph = float_graph(model)
    inputs = []
    for name in graph.inputs:
        shape, dtype = graph.shape(name), graph.dtypes.get(name)
        if shape is None or dtype is None:
            raise NetworkError(f"the input {name} must have a fixed shape and a dtype")
        inputs.append(InputShape(name, shape, dtype))
    samples = open_samples(data, inputs, mean, std)
    float_model = build_model(graph).SerializeToString() if compares else b""
    with step(f"Quantising with {len(samples)} examples"):
        quantise_model(graph, samples, output, method)
    if compares:
        with step(f"Comparing on {len(samples)} examples"):
            rows = compare(float_model, output, samples)
        print_table(
            f"float32 and int8, {len(samples)} examples",
            ("output", "same greatest", "mean difference", "greatest", "signal to noise"),
            [
                (
                    row.output,
                    "-" if row.same_top is None else f"{row.same_top:.1%}",
                    f"{row.mean_error:.4g}",
                    f"{row.greatest_error:.4g}",
                    f"{row.decibels:.1f} dB",
                )
                for row in rows
            ],
        )
    nodes = read(output).nodes
    host = [node for node in nodes if node.op == "cpu"]
    click.echo(f"{output}: {len(nodes) - len(host)} nodes in int8, {len(host)} for ONNX Runtime")
    for node in host:
        click.echo(f"  {node.name}: {node.reason}")
    return 0
