"""The pass that matches loops to operations on tiles. Read `match` first."""
