"""The pass from operations on tiles to instructions with addresses. Read `unroll` first."""
