"""The first pass: from a schedule to loop nests, with bounds inferred. Read `loop_nests` first."""
