"""The console, by plain HTTP and in a browser."""
