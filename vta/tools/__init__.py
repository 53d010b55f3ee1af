"""The measurements behind the commands `vta bench` and `vta synth`."""
