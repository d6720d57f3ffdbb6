"""Personal data: recognisers, names and places."""
