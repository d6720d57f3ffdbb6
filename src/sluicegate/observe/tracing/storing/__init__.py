"""How traces are written, on this machine and to the server that machines share."""
