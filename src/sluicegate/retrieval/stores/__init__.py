"""Indexes that many machines share, on S3 or in a folder: how a version is published, and how readers follow.

`objects` reads and writes by key, `lease` lets one ingest at a time, `versions` is what lies on a store, `replica` the
copies of a reading machine, `sharing` an ingest into a store.
"""
