"""Tensor expressions and schedules, as users write them. Read `tensor` first."""
