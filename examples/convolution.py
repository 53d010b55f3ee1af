# %% [markdown]
"""
# Convolution, and how to hide the memory

A convolution from the middle of a residual network: 14 x 14 pixels, 256 channels in and out,
kernels of 3 x 3, a border of zeros. This walk-through shows how convolutions become products of
tiles without rearranging the image, how the load unit adds the border, and how virtual threads make
memory and arithmetic work at the same time: the same loops and the same results in a quarter fewer
cycles. It builds on `blocked_matrix_multiply.py`.

This text is both a script, `python examples/convolution.py`, and a notebook. The script writes its
pictures into the folder that `$PICTURES` names. The last parts run on the hardware's own RTL; the
first use compiles a simulator for it, which takes a minute or two. All sizes fit the default
configuration; with another one, the compiler may report that a buffer is too small.
"""

# %%
from __future__ import annotations

import numpy as np
import pictures

import vta
from vta import nd, rpc, te, topi
from vta.compiler.te.schedule import Schedule
from vta.driver.module import Module
from vta.testing import simulator, utils

env = vta.get_env()

# %% [markdown]
# ## Tiles of pixels
#
# A tile of data holds `BLOCK_IN` channels of one pixel (of `BATCH` images). A tile of weights
# connects `BLOCK_IN` input channels to `BLOCK_OUT` output channels at one place of the kernel. So
# one GEMM step computes everything that a pixel contributes, in these channels, to an output pixel.
# Pixels keep their rows and columns: in tiles, the image is (batch, channels, rows, columns), and
# the kernels are (output channels, input channels, rows, columns).

# %%
images, channels_in, channels_out, height, width = env.BATCH, 256, 256, 14, 14
kernel_size, border = 3, 1
ic_tiles, oc_tiles = channels_in // env.BLOCK_IN, channels_out // env.BLOCK_OUT

data_shape = (1, ic_tiles, height, width, env.BATCH, env.BLOCK_IN)
kernel_shape = (oc_tiles, ic_tiles, kernel_size, kernel_size, env.BLOCK_OUT, env.BLOCK_IN)
out_shape = (1, oc_tiles, height, width, env.BATCH, env.BLOCK_OUT)
macs = images * channels_in * channels_out * height * width * kernel_size**2
print(
    f"{macs:,} multiplications, at {env.BATCH * env.BLOCK_IN * env.BLOCK_OUT} in a cycle: "
    f"{macs // (env.BATCH * env.BLOCK_IN * env.BLOCK_OUT):,} cycles, if GEMM never waits"
)

# %% [markdown]
# ## What to compute
#
# `data_buf` is the image with its border, on the chip. `conv` sums over input channels and over the
# kernel; for each place of the kernel it reads the image a little further down or to the right.
# Scaling, relu (a maximum with 0) and clipping follow on the accumulator.

# %%
SHIFT = 8

data = te.placeholder(data_shape, name="data", dtype=env.inp_dtype)
kernel = te.placeholder(kernel_shape, name="kernel", dtype=env.wgt_dtype)
data_buf = topi.nn.pad(data, [0, 0, border, border, 0, 0], name="data_buf")
kernel_buf = te.compute(kernel_shape, lambda *i: kernel(*i), name="kernel_buf")

ic = te.reduce_axis((0, ic_tiles), name="ic")
dy = te.reduce_axis((0, kernel_size), name="dy")
dx = te.reduce_axis((0, kernel_size), name="dx")
ki = te.reduce_axis((0, env.BLOCK_IN), name="ki")
conv = te.compute(
    out_shape,
    lambda b, oc, y, x, r, c: te.sum(
        data_buf[b, ic, y + dy, x + dx, r, ki].astype(env.acc_dtype)
        * kernel_buf[oc, ic, dy, dx, c, ki].astype(env.acc_dtype),
        axis=[ic, dy, dx, ki],
    ),
    name="conv",
)
scaled = te.compute(out_shape, lambda *i: conv(*i) >> SHIFT, name="scaled")
relu = te.compute(out_shape, lambda *i: te.max(scaled(*i), 0), name="relu")
clipped = te.compute(out_shape, lambda *i: te.min(relu(*i), 127), name="clipped")
result = te.compute(out_shape, lambda *i: clipped(*i).astype(env.out_dtype), name="result")
on_acc = (conv, scaled, relu, clipped)

# %% [markdown]
# ## How to compute it
#
# A block is what is on the chip at a time. The schedule decides how many output channels, rows and
# input channels it has. In tiles of the default configuration's accumulator, data and weight
# buffers:
#
# | | a block | tiles |
# |---|---|---|
# | output | 8 tiles of channels x 7 rows x 14 columns | 784 of 2048 |
# | image | 1 tile of channels x 9 x 16 pixels, border included | 144 of 2048 |
# | kernels | 8 x 1 tiles of channels x 3 x 3 | 72 of 1024 |
#
# The accumulator is the scarce resource. An output block that stays there while all input channels
# pass is written once and never read back. Its 98 pixels all use the same weights, so a tile of
# weights does 98 cycles of work for the 32 cycles that it takes on the bus.
#
# The steps are those of the blocked matrix product: split the axes of the result, compute the
# accumulator's tensors in the loop over blocks, load in the outermost loop of the sum. One step is
# new. The loop over blocks of output channels has two rounds, and binding it to `cthread` turns
# them into *virtual threads*. A virtual thread is not a processor. It tells the compiler that the
# rounds may be interleaved: each gets its own part of every buffer, and their instructions are
# issued in turn. While GEMM works on a block of the first thread, load can already fill the second
# thread's part of the buffer.

# %%
OC_BLOCK, ROW_BLOCK = 128 // env.BLOCK_OUT, 7


def scheduled(*, threads: bool) -> Schedule:
    """The convolution's schedule; with threads, each of two makes half of the output channels."""
    s = te.create_schedule(result.op)
    s[data_buf].set_scope(env.inp_scope)
    s[kernel_buf].set_scope(env.wgt_scope)
    for stage in on_acc:
        s[stage].set_scope(env.acc_scope)

    # The output, block by block.
    b, oc, y, x, r, c = s[result].op.axis
    oc_out, oc_in = s[result].split(oc, factor=OC_BLOCK)
    y_out, y_in = s[result].split(y, factor=ROW_BLOCK)
    s[result].reorder(oc_out, y_out, b, oc_in, y_in, x, r, c)
    for stage in on_acc:
        s[stage].compute_at(s[result], y_out)
    s[result].pragma(b, env.dma_copy)
    for stage in (scaled, relu, clipped):
        s[stage].pragma(s[stage].op.axis[0], env.alu)

    # The sum, one tile of input channels at a time, is outside the block's pixels.
    b, oc, y, x, r, c = s[conv].op.axis
    s[conv].reorder(ic, b, oc, y, dy, dx, x, r, c, ki)
    s[conv].tensorize(r, env.gemm)
    for stage in (data_buf, kernel_buf):
        s[stage].compute_at(s[conv], ic)
        s[stage].pragma(s[stage].op.axis[0], env.dma_copy)

    if threads:
        s[result].bind(oc_out, te.thread_axis("cthread"))
    return s


print(te.lower(scheduled(threads=True), [data, kernel, result], simple_mode=True))

# %% [markdown]
# ## What the machine executes
#
# The first instructions of the program with two threads. Look at:
#
# - **Padding.** Above, `data_buf` chose between the image and zero with a `select`; no trace of it
#   is left. A `VTALoadBuffer2D` reads 8 rows of 14 pixels, and the four numbers before the last two
#   add rows and columns of zeros as they enter the buffer: left, above, right, below. The border is
#   never in memory and costs nothing on the bus.
# - **A part of each buffer.** The second thread's tiles follow the first's. Compare the addresses
#   on the chip, the second number from the end.
# - **Tokens.** The loads of the first two blocks, one for each thread, wait for nothing, so the
#   second can start while GEMM is busy with the first. The third block belongs to the first thread
#   again and overwrites its data. It waits for the token (`coproc_dep_pop(2, 1)`) that the first
#   GEMM pushed when it was done. By then the second GEMM has data to work on.
# - **Micro-ops.** The two loops of the instruction go along a row and from one output channel to
#   the next. The places of the kernel and the rows of the block are unrolled into 63 micro-ops,
#   which stay on the chip for all blocks of a thread.

# %%
print(pictures.excerpt(vta.lower(scheduled(threads=True), [data, kernel, result]), 66))

# %% [markdown]
# ## Compile, run, check
#
# With and without virtual threads, on the functional simulator and on the RTL. `TARGET` in the
# configuration selects one of them, and `Environment` makes a configuration the current one. The
# reference is NumPy's.

# %%
programs = {
    name: vta.build(scheduled(threads=threads), [data, kernel, result], env.target, name="conv")
    for name, threads in (("1 thread", False), ("2 threads", True))
}

rng = np.random.default_rng(0)
image = rng.integers(-128, 128, (images, channels_in, height, width)).astype(data.dtype)
weights = rng.integers(-128, 128, (channels_out, channels_in, kernel_size, kernel_size)).astype(
    kernel.dtype
)

bordered = np.pad(image, ((0, 0), (0, 0), (border, border), (border, border))).astype(np.int32)
sums = np.zeros((images, channels_out, height, width), np.int32)
for i, j in np.ndindex(kernel_size, kernel_size):
    window = bordered[:, :, i : i + height, j : j + width]
    sums += np.einsum("oi,bihw->bohw", weights[:, :, i, j].astype(np.int32), window)
expected = np.clip(sums >> SHIFT, 0, 127).astype(result.dtype)


def tiles(array: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """From (N, C, H, W) to (N / rows, C / columns, H, W, rows, columns)."""
    n, c, h, w = array.shape
    cut = array.reshape(n // rows, rows, c // columns, columns, h, w)
    return cut.transpose(0, 2, 4, 5, 1, 3)


def run(program: Module, target: str) -> dict[str, int]:
    """Runs the program where `target` says, compares, and returns what was counted."""
    session = rpc.LocalSession if target in ("sim", "tsim") else rpc.connect
    with (
        vta.Environment({**env.cfg_dict, "TARGET": target}),
        utils.tempdir() as folder,
        session() as remote,
    ):
        vta.program_fpga(remote)  # nothing to do on a simulator
        program.save(folder.relpath("conv.o"))
        remote.upload(folder.relpath("conv.o"))
        f = remote.load_module("conv.o")
        ctx = remote.ext_dev(0)
        data_nd = nd.array(tiles(image, env.BATCH, env.BLOCK_IN), ctx)
        kernel_nd = nd.array(tiles(weights, env.BLOCK_OUT, env.BLOCK_IN), ctx)
        result_nd = nd.empty(out_shape, result.dtype, ctx)
        simulator.clear_stats()
        f(data_nd, kernel_nd, result_nd)
        np.testing.assert_array_equal(result_nd.numpy(), tiles(expected, env.BATCH, env.BLOCK_OUT))
        return simulator.stats()


cycles = {}
for name, program in programs.items():
    run(program, env.TARGET)
    counted = run(program, "tsim")
    cycles[name] = counted["cycle_count"]
    print(
        f"{name:10} exact on both; {counted['gemm_counter']:,} GEMM steps, "
        f"{counted['wgt_load_nbytes']:,} bytes of weights, {cycles[name]:,} cycles"
    )
assert cycles["2 threads"] < cycles["1 thread"]

# %% [markdown]
# Both programs do the same work and move the same bytes. (All weights are loaded twice, once for
# each half of the rows.) The difference is when.
#
# ## One thread
#
# The first 40,000 cycles show that load and compute take turns. A block is loaded and multiplied,
# and only then can the next one take its place. The bus is idle while GEMM works, and GEMM is idle
# while the bus works.

# %%
pictures.timeline("1 thread", programs["1 thread"], window=(0, 40_000))

# %% [markdown]
# ## Two threads
#
# Now load is one block ahead. When GEMM has finished one thread's block, the other thread's is
# there, and compute hardly ever waits. Load waits instead, for a free half of the buffer. That
# costs nothing, because load is the faster one here. The ALU's work at the end of an output block
# cannot be hidden, because it shares the accumulator with GEMM.

# %%
pictures.timeline("2 threads", programs["2 threads"], window=(0, 40_000))

# %% [markdown]
# ## How far from the roof
#
# Both programs have the same number of operations for each byte, far to the right of the ridge,
# where GEMM is the limit. The threads change only the height.

# %%
pictures.roofline("convolution", programs)

# %% [markdown]
# Other things to try, each a change of a line or two: half as many output channels in a block, for
# four threads; all 14 rows in a block (the compiler says what does not fit); threads along the rows
# instead of the channels; two tiles of input channels at a time.

# %%
print("Successful convolution test!")
