"""What `vta quantize` measures with: calibration data, and the comparison with the float model."""
