"""Helpers for scripts and tests."""
