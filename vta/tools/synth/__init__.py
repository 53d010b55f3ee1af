"""What the hardware costs on an FPGA: area by Yosys, clock by nextpnr, both from PyPI."""
