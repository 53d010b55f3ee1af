"""The first pass lowers a schedule to loop nests and infers bounds. Read `loop_nests` first."""
