"""Where the cycles of a run went, and pictures of it. Read `profile` first."""
