"""The RTL simulator: the hardware's Verilog under Verilator. Read `rtl_machine` first."""
