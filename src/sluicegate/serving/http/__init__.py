"""The HTTP API of a service: an ASGI application, its callers, messages and problems."""
