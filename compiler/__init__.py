"""From tensor expressions and schedules to VTA programs (`vta.compiler.pipeline.build`)."""
