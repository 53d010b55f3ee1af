"""Shells around the top, one for each board. Read `few_pins`, the smallest, first."""
