"""The compute module, from iterations to the accumulator. Read `compute_module` first."""
