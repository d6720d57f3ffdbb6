"""The page `/docs`: Swagger UI over `/openapi.json`, served from here, so that it works without another network.

`files/README.md` says where it is from.
"""
