"""The pass that lowers operations on tiles to instructions with addresses. Read `unroll` first."""
