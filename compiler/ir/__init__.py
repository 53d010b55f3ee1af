"""The three intermediate forms, their text, and helpers for the passes.

Read `loop_ir` first."""
