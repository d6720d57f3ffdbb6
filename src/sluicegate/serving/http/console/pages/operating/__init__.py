"""Pages of those who operate: workflows and their versions, the router, evaluations, incidents, kill switches."""
