"""What the process is that machines are forked from: everything that their commands import, and nothing opened."""

import psycopg
import time_machine
import uvicorn

from sluicegate.cli import serve
from sluicegate.cli import worker as worker_command
from sluicegate.policies.guards import library
from sluicegate.serving.execution import durable
from sluicegate.serving.http import app, server
from sluicegate.serving.webhooks import worker
from tests.faults.machines import machine

__all__ = [
    "app", "durable", "library", "machine", "psycopg", "serve", "server", "time_machine", "uvicorn", "worker",
    "worker_command",
]  # fmt: skip
