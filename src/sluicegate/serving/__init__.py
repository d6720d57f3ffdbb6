"""A workflow as a service, in the process or over HTTP, and as a graph for LangGraph's tools."""
