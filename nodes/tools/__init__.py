"""Tools: typed Python functions that a workflow may call, once per business action."""
