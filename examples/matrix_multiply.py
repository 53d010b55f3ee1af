# %% [markdown]
"""
# Matrix multiplication, one block

A first program for VTA's matrix unit: two matrices that fit on the chip, multiplied in one go. It
shows how matrices are cut into tiles, how a schedule maps loops to GEMM, which instructions result,
and where the cycles go. Read `vta_get_started.py` before it and `blocked_matrix_multiply.py` after
it.

This text is both a script, `python examples/matrix_multiply.py`, and a notebook. The script writes
its pictures into the folder that `$PICTURES` names. The last part runs on the hardware's own RTL;
the first use compiles a simulator for it, which takes a minute or two. All sizes fit the default
configuration; with another one, the compiler may report that a buffer is too small.
"""

# %%
from __future__ import annotations

import numpy as np
import pictures

import vta
from vta import nd, rpc, te
from vta.testing import simulator, utils

env = vta.get_env()
print(
    f"GEMM: ({env.BATCH}, {env.BLOCK_IN}) x ({env.BLOCK_OUT}, {env.BLOCK_IN}) "
    f"-> ({env.BATCH}, {env.BLOCK_OUT}), once a cycle"
)

# %% [markdown]
# ## Tiles
#
# The machine works on tiles, not on single numbers. In one cycle, GEMM takes a tile of data,
# `(BATCH, BLOCK_IN)` numbers of 8 bits, and a tile of weights, `(BLOCK_OUT, BLOCK_IN)`. It
# multiplies each row of the data with each row of the weights, and adds the products to a tile of
# `(BATCH, BLOCK_OUT)` numbers of 32 bits. The weights are transposed, as in a layer of a neural
# network: one row for each output.
#
# So `C = A @ B.T` becomes a product of matrices of tiles, and each tile must be contiguous in
# memory. NumPy rearranges the matrices. Below, `A` has 32 rows of 256 numbers, and `B` has 256
# rows.

# %%
rows, inner, columns = 32, 256, 256
o, n, m = rows // env.BATCH, inner // env.BLOCK_IN, columns // env.BLOCK_OUT


def tiles(matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """From (rows, columns) to (rows / height, columns / width, height, width)."""
    down, across = matrix.shape[0] // height, matrix.shape[1] // width
    return matrix.reshape(down, height, across, width).transpose(0, 2, 1, 3)


print(f"A: {o} x {n} tiles, B: {m} x {n}, C: {o} x {m}")

# %% [markdown]
# ## What to compute
#
# Every intermediate value is a tensor of its own, because the schedule will give each of them a
# place and a unit that computes it:
#
# - `A` and `B` are in main memory, and `A_buf` and `B_buf` are their copies on the chip.
# - `C_buf` is the product. Each element is a sum over the tiles of a row (`ko`) and over the
#   numbers within a tile (`ki`). The factors are widened to 32 bits first; otherwise the sum would
#   have 8.
# - `C` is back in main memory. Only the lowest 8 bits of a sum can be stored, so this product wraps
#   around. The next walk-through scales its results before it stores them.

# %%
A = te.placeholder((o, n, env.BATCH, env.BLOCK_IN), name="A", dtype=env.inp_dtype)
B = te.placeholder((m, n, env.BLOCK_OUT, env.BLOCK_IN), name="B", dtype=env.wgt_dtype)
A_buf = te.compute(A.shape, lambda *i: A(*i), name="A_buf")
B_buf = te.compute(B.shape, lambda *i: B(*i), name="B_buf")

ko = te.reduce_axis((0, n), name="ko")
ki = te.reduce_axis((0, env.BLOCK_IN), name="ki")
shape = (o, m, env.BATCH, env.BLOCK_OUT)
C_buf = te.compute(
    shape,
    lambda row, col, r, c: te.sum(
        A_buf[row, ko, r, ki].astype(env.acc_dtype) * B_buf[col, ko, c, ki].astype(env.acc_dtype),
        axis=[ko, ki],
    ),
    name="C_buf",
)
C = te.compute(shape, lambda *i: C_buf(*i).astype(env.out_dtype), name="C")

s = te.create_schedule(C.op)
print(te.lower(s, [A, B, C], simple_mode=True))

# %% [markdown]
# These are plain loops over single numbers. Any processor could run them; nothing here uses VTA's
# units yet.
#
# ## How to compute it
#
# **Where the tensors are.** Each kind of tile has its own buffer on the chip: one for data, one for
# weights, and the accumulator, whose numbers have 32 bits.

# %%
s[A_buf].set_scope(env.inp_scope)
s[B_buf].set_scope(env.wgt_scope)
s[C_buf].set_scope(env.acc_scope)

# %% [markdown]
# **How they get there.** A copy loop with the pragma `dma_copy` becomes a transfer: by the load
# unit on the way in, by the store unit on the way out. The pragma is on the outermost axis, so one
# transfer moves everything.

# %%
for copy in (A_buf, B_buf, C):
    s[copy].pragma(s[copy].op.axis[0], env.dma_copy)

# %% [markdown]
# **Which loops are GEMM's.** The three innermost loops must be the ones that the unit performs in a
# single step: rows of the data tile, rows of the weight tile, numbers in a row. By default `ko` is
# inside them, so `reorder` moves it out. `tensorize` then replaces the loops from `r` inwards by
# the unit.

# %%
row, col, r, c = s[C_buf].op.axis
s[C_buf].reorder(ko, row, col, r, c, ki)
s[C_buf].tensorize(r, env.gemm)
print(te.lower(s, [A, B, C], simple_mode=True))

# %% [markdown]
# ## What the machine executes
#
# `te.lower` shows loops; `vta.lower` shows the calls that instructions are made of. From the top:
#
# - Two `VTALoadBuffer2D` fill the buffers. The numbers after the tensor are its first tile in
#   memory, the width and height of the transfer, and the distance between two rows (all in tiles).
#   Four numbers for padding follow, then the place in the buffer and the buffer.
# - `coproc_dep_push(1, 2)` and `coproc_dep_pop(1, 2)` push and pop a token. Load, compute and store
#   (1, 2, 3) run concurrently; a unit that needs what another one has done waits for its token. The
#   schedule does not mention tokens: the compiler works out who reads what another unit wrote.
# - The first GEMM sets the accumulator to zero, which needs no token. The second is the whole
#   product. An instruction has two loops (`VTAUopLoopBegin`: the count, then the steps of the
#   accumulator's, the data's and the weights' tile) around a list of micro-ops. Each micro-op names
#   the three tiles to start from. The schedule has three loops, so two became the instruction's
#   loops, and the third was unrolled into micro-ops.
#
# `simple_mode=True` would leave out the comments.

# %%
print(vta.lower(s, [A, B, C]))

# %% [markdown]
# ## Compile and run
#
# `vta.build` returns data: the instructions, the micro-ops, and a signature. A session takes it as
# a file, as a board at the other end of a network would.

# %%
matmul = vta.build(s, [A, B, C], env.target, name="matmul")

remote = rpc.LocalSession() if env.TARGET in ("sim", "tsim") else rpc.connect()
vta.program_fpga(remote)  # nothing to do on a simulator
folder = utils.tempdir()
matmul.save(folder.relpath("matmul.o"))
remote.upload(folder.relpath("matmul.o"))
f = remote.load_module("matmul.o")

rng = np.random.default_rng(0)
a = rng.integers(-128, 128, (rows, inner)).astype(A.dtype)
b = rng.integers(-128, 128, (columns, inner)).astype(B.dtype)
ctx = remote.ext_dev(0)
a_nd = nd.array(tiles(a, env.BATCH, env.BLOCK_IN), ctx)
b_nd = nd.array(tiles(b, env.BLOCK_OUT, env.BLOCK_IN), ctx)
c_nd = nd.empty(shape, C.dtype, ctx)

simulator.clear_stats()
f(a_nd, b_nd, c_nd)

product = a.astype(env.acc_dtype) @ b.astype(env.acc_dtype).T
np.testing.assert_array_equal(
    c_nd.numpy(), tiles(product.astype(C.dtype), env.BATCH, env.BLOCK_OUT)
)
print("The product is NumPy's.")

# %% [markdown]
# Every weight crossed the bus once, and every product of tiles was computed once:

# %%
stats = simulator.stats()
assert stats["wgt_load_nbytes"] == b.nbytes
assert stats["gemm_counter"] == o * m * n
for key, value in stats.items():
    print(f"{key:18}{value:>8,}")
remote.close()

# %% [markdown]
# ## Where the cycles go
#
# The same program on the RTL. Each unit has its state at the top and its instructions below, from
# issue to retirement. At the bottom is the use of the bus.

# %%
pictures.timeline("matmul", matmul)

# %% [markdown]
# Three things happen one after the other. First, load moves 8 bytes in each cycle, while compute
# waits for its token until the last weight is there. Then GEMM works, and the bus is idle. At the
# end, store moves the result. No unit is slow, but they take turns.
#
# The roofline says the same with two numbers: the operations for each byte that the program moves
# (to the right), and the operations in a cycle (upwards). The slope is what the bus can feed, the
# horizontal line what GEMM can do.

# %%
pictures.roofline("matmul", {f"{rows} rows": matmul})

# %% [markdown]
# Each loaded weight is used once for each row of `A`, so the number of rows decides how far to the
# right the point is. Its distance from the roof is the price of taking turns. Matrices that do not
# fit on the chip come next, in `blocked_matrix_multiply.py`; `convolution.py` shows how to hide
# loads behind arithmetic.

# %%
print("Successful matrix multiply test!")
