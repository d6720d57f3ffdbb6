"""The fitted reviewer of drafts: the engine `head` of the guard `slm-review`."""
