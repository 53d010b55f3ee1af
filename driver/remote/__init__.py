"""Remote devices: a board's agent, the daemon around it, and the client's session.

Read `protocol` first. It, `channel`, `agent` and `server` need only Python 3.10's standard library.
"""
