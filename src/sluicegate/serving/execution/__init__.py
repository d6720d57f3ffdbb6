"""Who carries accepted runs to their end: a service of one machine by itself, or the machines that share a server."""
