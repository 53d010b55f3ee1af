"""Benchmarks: streams whose cycles are known to the last one, and what they could be at best.

`micro` and `kernels` make streams, `bound` says what they need, `measure` runs them on the RTL,
`roofline` and `page` show the results; `speed` times the simulators themselves.
"""

__all__: list[str] = []
