"""Token insertion. Read `insert_tokens` first."""
