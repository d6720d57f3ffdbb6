"""Everything that outlasts a process: SQLite files of the home, or tables of a PostgreSQL server."""
