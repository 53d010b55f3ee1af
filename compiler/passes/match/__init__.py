"""The pass from loops to operations on tiles. Read `match` first."""
