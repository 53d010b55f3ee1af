"""The three intermediate forms, how they are printed, and what passes ask of them.

Read `loop_ir` first."""
