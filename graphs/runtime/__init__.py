"""The governed run: services put together, the compiled graph, checkpoints, waiting and resuming."""
