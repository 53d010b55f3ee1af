"""Get started: a vector addition on VTA, from the expression to the checked result.

The steps are those of VTA's own first tutorial. What is computed takes one line; the rest says how
the accelerator should compute it. Run it with

    python examples/vta_get_started.py

`TARGET` in the configuration selects where it runs: "sim" is the functional simulator, "tsim" the
hardware itself, simulated cycle by cycle; "pynq" and the like are boards ("vta serve --emulate
pynq" emulates one), which $VTA_RPC_HOST and $VTA_RPC_PORT find.
"""

from __future__ import annotations

import os

import numpy as np

import vta
from vta import nd, rpc, te
from vta.testing import simulator, utils

# 1. The parameters of the machine -------------------------------------------------------------
#
# VTA is a family of machines. Their parameters, as base-2 logarithms, are in a JSON file: the one
# that $VTA_CONFIG names, else vta/vta_config.json. `env` has them and all sizes that follow.

env = vta.get_env()
print(f"VTA {env.BITSTREAM}, target {env.TARGET}")

# 2. A device to run on ------------------------------------------------------------------------
#
# A simulator is part of this process, but it is used like a board at the other end of a network:
# programs are uploaded to it, and tensors are in its own memory.

remote = rpc.LocalSession() if env.TARGET in ("sim", "tsim") else rpc.connect()
vta.reconfig_runtime(remote)
vta.program_fpga(remote, bitstream=None)  # nothing to do on a simulator

# 3. What to compute ---------------------------------------------------------------------------
#
# VTA works on tiles of (BATCH, BLOCK_OUT) numbers, so tensors are arranged in tiles: here one row
# of 64. A and B are in main memory. Their copies A_buf and B_buf, and the sum C_buf, will be on the
# chip, in the accumulator, whose numbers have 32 bits. Only 8-bit numbers can be stored, so the
# last step casts on the way out to C (and wraps around, as NumPy's cast does).

m = 64
o = 1
shape = (o, m, env.BATCH, env.BLOCK_OUT)

A = te.placeholder(shape, name="A", dtype=env.acc_dtype)
B = te.placeholder(shape, name="B", dtype=env.acc_dtype)
A_buf = te.compute(shape, lambda *i: A(*i), "A_buf")
B_buf = te.compute(shape, lambda *i: B(*i), "B_buf")
C_buf = te.compute(
    shape,
    lambda *i: A_buf(*i).astype(env.acc_dtype) + B_buf(*i).astype(env.acc_dtype),
    name="C_buf",
)
C = te.compute(shape, lambda *i: C_buf(*i).astype(env.inp_dtype), name="C")

# 4. How to compute it -------------------------------------------------------------------------
#
# A schedule starts as plain loops over every element, which any processor could run.

s = te.create_schedule(C.op)
print("\nThe default schedule:\n")
print(te.lower(s, [A, B, C], simple_mode=True))

# The schedule maps them to VTA's units. The intermediate tensors are in the accumulator buffer.

s[A_buf].set_scope(env.acc_scope)
s[B_buf].set_scope(env.acc_scope)
s[C_buf].set_scope(env.acc_scope)

# The load and store units copy between main memory and the chip in bulk (DMA).

s[A_buf].pragma(s[A_buf].op.axis[0], env.dma_copy)
s[B_buf].pragma(s[B_buf].op.axis[0], env.dma_copy)
s[C].pragma(s[C].op.axis[0], env.dma_copy)

# The addition runs on the vector ALU, one tile at a time.

s[C_buf].pragma(C_buf.op.axis[0], env.alu)

print("\nThe same, in VTA's instructions:\n")
print(vta.lower(s, [A, B, C], simple_mode=True))

# 5. Compile, save, upload, load ---------------------------------------------------------------
#
# The compiled program is plain data: instructions, micro-ops and a signature. A device refuses a
# program that does not fit its parameters.

my_vadd = vta.build(
    s, [A, B, C], vta.target.Target("ext_dev", host=env.target_host), name="my_vadd"
)
temp = utils.tempdir()
my_vadd.save(temp.relpath("vadd.o"))
remote.upload(temp.relpath("vadd.o"))
f = remote.load_module("vadd.o")

# 6. Run ---------------------------------------------------------------------------------------
#
# Two matrices of random numbers are cut into tiles and copied to the device's memory.

ctx = remote.ext_dev(0)
rng = np.random.default_rng(int(os.environ.get("SEED", "0")))
A_orig = rng.integers(-128, 128, size=(o * env.BATCH, m * env.BLOCK_OUT)).astype(A.dtype)
B_orig = rng.integers(-128, 128, size=(o * env.BATCH, m * env.BLOCK_OUT)).astype(B.dtype)


def pack(matrix: np.ndarray) -> np.ndarray:
    """From (rows, columns) to (o, m, BATCH, BLOCK_OUT): tiles one after the other."""
    return matrix.reshape(o, env.BATCH, m, env.BLOCK_OUT).transpose((0, 2, 1, 3))


A_nd = nd.array(pack(A_orig), ctx)
B_nd = nd.array(pack(B_orig), ctx)
C_nd = nd.array(np.zeros(shape).astype(C.dtype), ctx)
simulator.clear_stats()
f(A_nd, B_nd, C_nd)

# 7. Check -------------------------------------------------------------------------------------

C_ref = pack((A_orig.astype(env.acc_dtype) + B_orig.astype(env.acc_dtype)).astype(C.dtype))
np.testing.assert_equal(C_ref, C_nd.numpy())
print("\nWhat the device counted:")
for key, value in simulator.stats().items():
    print(f"  {key:18}{value:>8,}")
print("Successful vector add test!")
remote.close()
