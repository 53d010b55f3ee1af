"""Profiles: how a run spent its cycles, and pictures of it. Read `profile` first."""
