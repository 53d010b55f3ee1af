"""Encodes the last intermediate form as a `vta.program.Program`. Read `emit` first."""
