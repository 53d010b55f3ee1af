"""What goes before execution: fetch, in-order issue, tokens, range checks.

Read `sequencer` first."""
