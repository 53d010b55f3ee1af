"""Checks of a program: between passes, and the proof of the finished one. Read `proof` first."""
