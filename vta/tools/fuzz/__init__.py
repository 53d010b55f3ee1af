"""Random programs on the RTL, the functional simulator and a plain interpreter: `vta fuzz`.

Read `campaign` first.
"""
