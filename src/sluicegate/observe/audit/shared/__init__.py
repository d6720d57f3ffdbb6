"""The audit logs of many machines on one server: a chain for each home, and one sequence of signed statements over all.

`delivery` brings records from a home to the server, `sequence` says what a statement is, `store` reads and writes them,
`trust` knows whose signatures count, `verify_all` finds what was changed in any of it.
"""
