# %% [markdown]
"""
# Matrix multiplication in blocks

A layer of a neural network rarely fits on the chip. This walk-through multiplies one row of 1024
numbers by 1024 x 1024 weights: a megabyte of them, four times the size of the weight buffer. It
shows how to split a schedule into blocks, how VTA's vector ALU scales and clips the sums before
they are stored, and what the size of a block changes. It builds on `matrix_multiply.py`.

This text is both a script, `python examples/blocked_matrix_multiply.py`, and a notebook. The script
writes its pictures into the folder that `$PICTURES` names. The last part runs on the hardware's own
RTL; the first use compiles a simulator for it, which takes a minute or two. All sizes fit the
default configuration; with another one, the compiler may report that a buffer is too small.
"""

# %%
from __future__ import annotations

import numpy as np
import pictures

import vta
from vta import nd, rpc, te
from vta.compiler.te.schedule import Schedule
from vta.errors import ScheduleError
from vta.testing import simulator, utils

env = vta.get_env()
rows, inner, columns = env.BATCH, 1024, 1024
n, m = inner // env.BLOCK_IN, columns // env.BLOCK_OUT
print(f"{m} x {n} tiles of weights: {m * n * env.WGT_ELEM_BYTES:,} bytes")
print(
    f"The buffer holds {env.WGT_BUFF_SIZE // env.WGT_ELEM_BYTES:,} tiles: "
    f"{env.WGT_BUFF_SIZE:,} bytes"
)

# %% [markdown]
# ## What to compute
#
# The product is the one of the first walk-through; what follows it is new. A sum of 1024 products
# of 8-bit numbers needs 26 bits, and the next layer expects 8 again. Quantised networks scale by a
# power of two, which is a shift to the right, and clip what is still too large. Both steps work on
# the accumulator's 32-bit numbers, so only the final 8 bits leave the chip. At the end, `C` only
# casts, and loses nothing.

# %%
A = te.placeholder((1, n, env.BATCH, env.BLOCK_IN), name="A", dtype=env.inp_dtype)
B = te.placeholder((m, n, env.BLOCK_OUT, env.BLOCK_IN), name="B", dtype=env.wgt_dtype)
A_buf = te.compute(A.shape, lambda *i: A(*i), name="A_buf")
B_buf = te.compute(B.shape, lambda *i: B(*i), name="B_buf")
ko = te.reduce_axis((0, n), name="ko")
ki = te.reduce_axis((0, env.BLOCK_IN), name="ki")
shape = (1, m, env.BATCH, env.BLOCK_OUT)
C_buf = te.compute(
    shape,
    lambda row, col, r, c: te.sum(
        A_buf[row, ko, r, ki].astype(env.acc_dtype) * B_buf[col, ko, c, ki].astype(env.acc_dtype),
        axis=[ko, ki],
    ),
    name="C_buf",
)

SHIFT = 8
C_scaled = te.compute(shape, lambda *i: C_buf(*i) >> SHIFT, name="C_scaled")
C_clipped = te.compute(shape, lambda *i: te.min(te.max(C_scaled(*i), -128), 127), name="C_clipped")
C = te.compute(shape, lambda *i: C_clipped(*i).astype(env.out_dtype), name="C")

# %% [markdown]
# ## What every schedule needs
#
# Places, transfers and units are set as in the first walk-through. The new stages are in the
# accumulator buffer, with the pragma of the vector ALU. The ALU works on whole tiles, one after the
# other, and each operator becomes one of its instructions.

# %%
ON_ACC = (C_buf, C_scaled, C_clipped)


def with_units() -> Schedule:
    """A schedule that knows where and on which unit, but nothing of order."""
    s = te.create_schedule(C.op)
    s[A_buf].set_scope(env.inp_scope)
    s[B_buf].set_scope(env.wgt_scope)
    for stage in ON_ACC:
        s[stage].set_scope(env.acc_scope)
    for stage in (A_buf, B_buf):
        s[stage].pragma(s[stage].op.axis[0], env.dma_copy)
    for stage in (C_scaled, C_clipped):
        s[stage].pragma(s[stage].op.axis[0], env.alu)
    return s


# %% [markdown]
# ## All at once
#
# Finished as in the first walk-through, this schedule needs too much of a buffer. The compiler says
# which buffer, and by how much:

# %%
s = with_units()
s[C].pragma(s[C].op.axis[0], env.dma_copy)
row, col, r, c = s[C_buf].op.axis
s[C_buf].reorder(ko, row, col, r, c, ki)
s[C_buf].tensorize(r, env.gemm)
try:
    vta.build(s, [A, B, C], env.target)
except ScheduleError as error:
    print(error)

# %% [markdown]
# ## Block by block
#
# Two axes are split. The loop over the columns of `C` determines how much of the accumulator is in
# use at a time, and the loop over `ko` how many weights. Together they determine the block of `B`.
#
# 1. **Split the output.** `split` turns the loop over columns of tiles into two: blocks outside,
#    the columns of a block inside.
# 2. **Compute where it is used.** By default a tensor is finished before the next one begins.
#    `compute_at` moves the computation of the accumulator's tensors into the loop over blocks of
#    `C`. The compiler works out which part of them a round needs, so they shrink to a block. All
#    steps of a round, from the sum to the clipping, happen between two stores.
# 3. **Split the sum.** `ko` is split too. A sum may stay in the accumulator while its operands are
#    replaced, so the outer part of `ko` becomes the outermost loop of `C_buf`.
# 4. **Load where it is used.** `A_buf` and `B_buf` are computed in that loop. They hold one block
#    at a time; the block of the next round replaces it.


# %%
def blocked(col_block: int, ko_block: int) -> Schedule:
    """The schedule with blocks of col_block x ko_block tiles of weights."""
    s = with_units()
    row, col, r, c = s[C].op.axis
    col_out, col_in = s[C].split(col, factor=col_block)
    s[C].reorder(col_out, row, col_in, r, c)
    s[C].pragma(row, env.dma_copy)
    for stage in ON_ACC:
        s[stage].compute_at(s[C], col_out)

    row, col, r, c = s[C_buf].op.axis
    ko_out, ko_in = s[C_buf].split(ko, factor=ko_block)
    s[C_buf].reorder(ko_out, ko_in, row, col, r, c, ki)
    for stage in (A_buf, B_buf):
        s[stage].compute_at(s[C_buf], ko_out)
    s[C_buf].tensorize(r, env.gemm)
    return s


s = blocked(16, 16)
print(te.lower(s, [A, B, C], simple_mode=True))

# %% [markdown]
# Compare the allocations with the declarations: `B_buf` has shrunk from 64 x 64 tiles to 16 x 16.
#
# These are the first two blocks of the sum in the machine's own terms. The weights of a block are
# not contiguous in memory, but they are still one transfer, with one row for each column of tiles
# and a stride between rows. Before the second block is loaded, load waits for a token from compute
# (`coproc_dep_pop(2, 1)`), because it is about to overwrite what GEMM has been reading.

# %%
print(pictures.excerpt(vta.lower(s, [A, B, C]), 62))

# %% [markdown]
# ## Run it
#
# First on the functional simulator, or wherever `TARGET` says.

# %%
blocks = vta.build(s, [A, B, C], env.target, name="blocked_matmul")


def tiles(matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """From (rows, columns) to (rows / height, columns / width, height, width)."""
    down, across = matrix.shape[0] // height, matrix.shape[1] // width
    return matrix.reshape(down, height, across, width).transpose(0, 2, 1, 3)


rng = np.random.default_rng(0)
a = rng.integers(-128, 128, (rows, inner)).astype(A.dtype)
b = rng.integers(-128, 128, (columns, inner)).astype(B.dtype)
product = a.astype(env.acc_dtype) @ b.astype(env.acc_dtype).T
expected = np.clip(product >> SHIFT, -128, 127).astype(C.dtype)

session = rpc.LocalSession if env.TARGET in ("sim", "tsim") else rpc.connect
with session() as remote, utils.tempdir() as folder:
    vta.program_fpga(remote)  # nothing to do on a simulator
    blocks.save(folder.relpath("blocks.o"))
    remote.upload(folder.relpath("blocks.o"))
    f = remote.load_module("blocks.o")
    ctx = remote.ext_dev(0)
    a_nd = nd.array(tiles(a, env.BATCH, env.BLOCK_IN), ctx)
    b_nd = nd.array(tiles(b, env.BLOCK_OUT, env.BLOCK_IN), ctx)
    c_nd = nd.empty(shape, C.dtype, ctx)
    simulator.clear_stats()
    f(a_nd, b_nd, c_nd)
    np.testing.assert_array_equal(c_nd.numpy(), tiles(expected, env.BATCH, env.BLOCK_OUT))

print("The product, scaled and clipped, is NumPy's.")
for key, value in simulator.stats().items():
    print(f"{key:18}{value:>10,}")

# %% [markdown]
# ## What the machine does
#
# The timeline of the RTL shows each block: load, GEMM, load, GEMM, and so on. GEMM's bars are thin.
# With a single row of data, each weight is used once: a tile of weights takes 16 x 16 bytes on the
# bus and one cycle of arithmetic.

# %%
pictures.timeline("blocks of 16 x 16", blocks)

# %% [markdown]
# ## How large should a block be?
#
# Load has to wait between blocks: first for the token, then for the memory. Larger blocks have
# fewer such gaps and need fewer instructions; the buffers limit their size. The roofline compares
# the programs.

# %%
programs = {
    f"{size} x {size}": vta.build(blocked(size, size), [A, B, C], env.target)
    for size in (4, 8, 16, 32)
}
pictures.roofline("blocks", programs)

# %% [markdown]
# All of them are close below the slope: the bus is busy nearly all the time, and no schedule can
# load a weight in less than a byte. Only more operations for each byte would help, that is, more
# rows that share the weights. A convolution has this by nature, because all pixels share them. In
# `convolution.py` GEMM is the limit, and what matters is that it never waits.

# %%
print("Successful blocked matrix multiply test!")
