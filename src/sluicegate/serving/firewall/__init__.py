"""The firewall before the tools of other MCP servers: `sluicegate mcp proxy FIREWALL.yaml`.

Each call goes the way of a workflow that is generated from the firewall's config: its guards and policies, its budget,
the tool, the guards on the result. One that needs a person's approval is a run of that workflow; any other visits its
nodes here, without a graph's checkpoints, under the same services and into the same audit log.
"""
