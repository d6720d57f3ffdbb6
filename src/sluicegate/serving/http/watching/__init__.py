"""What watches a server or a worker: what it has counted, what is true of it now, and the port of who only carries."""
