"""Bitstreams of whole boards: the project, the tools, the manifest. Read `designs.py` first."""
