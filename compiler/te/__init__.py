"""Tensor expressions and schedules that users write. Read `tensor` first."""
