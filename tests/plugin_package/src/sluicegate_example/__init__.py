"""A plug-in package: what a third party writes to extend Sluicegate."""
