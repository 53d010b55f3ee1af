"""From the last intermediate form to a `vta.program.Program`. Read `emit` first."""
