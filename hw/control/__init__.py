"""The register file, the monitor of a run, the counters. Read `register_file` first."""
