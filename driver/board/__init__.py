"""Boards: registers, an interrupt and memory on one side, a `Device` on the other.

Read `board` first. It and the files that it imports need only Python 3.10's standard library,
because they run on the boards themselves.
"""
