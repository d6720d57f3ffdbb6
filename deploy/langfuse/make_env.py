"""Writes `.env` for this compose file and the one above it: fresh secrets, and the keys of the first project.

    python make_env.py [FOLDER]

An `.env` that exists is left alone, because the databases know its passwords. Needs nothing but Python.
"""

import os
import secrets
import sys
import uuid
from pathlib import Path

HEX = (
    "SALT",
    "ENCRYPTION_KEY",
    "NEXTAUTH_SECRET",
    "POSTGRES_PASSWORD",
    "CLICKHOUSE_PASSWORD",
    "REDIS_PASSWORD",
    "SLUICEGATE_DATABASE_PASSWORD",
)


def lines() -> list[str]:
    """The variables that the compose file needs. Hexadecimal, so that none needs quoting in a URL or a shell."""
    made = {name: secrets.token_hex(32) for name in HEX}
    made |= {"MINIO_PASSWORD": secrets.token_hex(16), "LANGFUSE_USER_PASSWORD": secrets.token_hex(12)}
    made |= {"LANGFUSE_PUBLIC_KEY": f"pk-lf-{uuid.uuid4()}", "LANGFUSE_SECRET_KEY": f"sk-lf-{uuid.uuid4()}"}
    return [f"{name}={value}\n" for name, value in made.items()]


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    path = folder / ".env"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.exit(f"{path} exists; delete it and the volumes to start anew")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(lines())
    sys.stdout.write(f"{path} written; LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY in it are what sluicegate needs\n")


if __name__ == "__main__":
    main()
