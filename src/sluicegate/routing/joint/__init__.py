"""Every threshold of a workflow chosen together, under one bound on all that goes out unasked."""
