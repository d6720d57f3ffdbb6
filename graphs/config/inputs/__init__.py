"""What a workflow names beside its config and decides by: prompts, policies, artifacts. Found, read once, checked."""
