"""The memory bus: AXI signatures, streams between blocks, bursts, the read DMA.

Read `axi` first."""
