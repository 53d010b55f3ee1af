"""What the commands `vta bench` and `vta synth` measure with."""
