# %% [markdown]
"""
# Matrix multiplication in blocks

A layer of a neural network rarely fits on the chip. This walk-through multiplies one row of 1024
numbers by 1024 x 1024 weights, a megabyte of them, four times what the weight buffer holds. It
shows how a schedule is cut into blocks, how to let VTA's vector ALU scale and clip the sums before
they are stored, and what the size of a block changes on the machine. It builds on
`matrix_multiply.py`.

This text is both a script, `python examples/blocked_matrix_multiply.py`, and a notebook. The script
writes its pictures into the folder that `$PICTURES` names. The last part runs on the hardware's own
RTL, for which a simulator is compiled on first use; that takes a minute or two. All sizes fit the
default configuration; with another, the compiler may have to say that a buffer is too small.
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
# The product is that of the first walk-through. What is new comes after it. A sum of 1024 products
# of 8-bit numbers needs 26 bits, and the next layer wants 8 again. Quantised networks scale by a
# power of two, a shift to the right, and clip what is still too large. Both are done on the
# accumulator's 32-bit numbers, so that nothing but the final 8 bits leaves the chip. `C` then only
# casts, and by now without losing anything.

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
# Places, transfers and units: as in the first walk-through, except that the new stages lie in the
# accumulator buffer and carry the mark of the vector ALU. It works on whole tiles, one after the
# other, and each operator is one of its instructions.

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
# Finished in the way of the first walk-through, this schedule asks for too much. The compiler says
# of what, and by how much:

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
# Two axes are cut. The loop over columns of `C` decides how much of the accumulator is in use at a
# time, the loop over `ko` how many weights are. Together they decide the block of `B`.
#
# 1. **Cut the output.** `split` makes two loops out of the columns of tiles: blocks outside,
#    columns of a block inside.
# 2. **Compute where it is used.** By default a tensor is finished before the next one begins.
#    `compute_at` moves the making of the accumulator's tensors into the loop over blocks of `C`.
#    They shrink to a block, for the compiler works out which part of them a round needs. And all of
#    a round's steps, from the sum to the clipping, happen between two stores.
# 3. **Cut the sum.** `ko` is split, too. A sum may stay in the accumulator while the operands pass
#    by, so its outer part becomes the outermost loop of `C_buf`.
# 4. **Load where it is used.** `A_buf` and `B_buf` are made in that loop. What they hold at a time
#    is a block; the next round's block takes its place.


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
# Compare the allocations with the declarations: `B_buf` is down from 64 x 64 tiles to 16 x 16.
#
# In the machine's own terms, the first two blocks of the sum look as follows. The weights of a
# block do not lie side by side in memory, and still are one transfer: one line for each column of
# tiles, with the distance from line to line. Before the second block is loaded, load waits for a
# token from compute (`coproc_dep_pop(2, 1)`), since it is going to overwrite what GEMM has been
# reading.

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

with rpc.LocalSession() as remote, utils.tempdir() as folder:
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
# The timeline of the RTL has a stroke for each block: load, GEMM, load, GEMM ... GEMM's strokes are
# thin. A weight is used for a single row of data, so that a tile of weights is 16 x 16 bytes on the
# bus and one cycle of arithmetic.

# %%
pictures.timeline("blocks of 16 x 16", blocks)

# %% [markdown]
# ## How large should a block be?
#
# Load has to wait between blocks: for the token, then for the memory's answer. Larger blocks have
# fewer such gaps and need fewer instructions; the buffers say where that ends. The roofline has the
# programs side by side.

# %%
programs = {
    f"{size} x {size}": vta.build(blocked(size, size), [A, B, C], env.target)
    for size in (4, 8, 16, 32)
}
pictures.roofline("blocks", programs)

# %% [markdown]
# They all lie close below the slope: the bus is busy nearly all the time, and no schedule can make
# it carry a weight in less than a byte. Only more operations for each byte would help, that is,
# more rows that share the weights. A convolution has that by nature, as all pixels do. In
# `convolution.py` GEMM is the limit, and what matters is that nothing keeps it waiting.

# %%
print("Successful blocked matrix multiply test!")
