"""The accelerator in Amaranth. `vta.hw.verilog.generate` turns a configuration into Verilog."""
