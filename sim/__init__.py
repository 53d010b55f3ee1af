"""Simulators: the functional one in numpy, and the RTL under Verilator."""
