"""Many machines on one database: processes with homes, networks and clocks of their own, which are killed, paused, cut
off and filled up while they work, and what is left of it all."""
