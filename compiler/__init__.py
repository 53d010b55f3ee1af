"""From tensor expressions and schedules to VTA programs (`vta.compiler.build.build`)."""
