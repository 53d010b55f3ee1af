"""The load and store modules, their engines and the scratchpads. Read `load_module` first."""
