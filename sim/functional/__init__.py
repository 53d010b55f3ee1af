"""The functional simulator: the instruction set in numpy. Read `functional_machine` first."""
