"""Networks: an ONNX model becomes an int8 graph, and its parts become programs.

Read `int8_graph.py` first: it is what the reader of ONNX files makes and what the compiler takes.
`read_model.py` reads a model, and `reference.py` says what each node computes.
"""
