"""How the values of a checkpoint are written and read: plain data, and nothing that runs.

LangGraph's serializer restores any importable object that a row names, and so runs what whoever can write the row
wants. States are plain data; beside it LangGraph itself writes `Interrupt` and a few other types of its own. Only what
is on its list of safe types is restored here, whatever `LANGGRAPH_STRICT_MSGPACK` says, and a row that names anything
else is corrupt: it is neither restored nor, as LangGraph would, passed on in pieces.
"""

from typing import Any

import ormsgpack
from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_METHODS, SAFE_MSGPACK_TYPES
from langgraph.checkpoint.serde.jsonplus import EXT_METHOD_SINGLE_ARG, JsonPlusSerializer

from sluicegate.errors import CorruptError

__all__ = ["PlainDataSerializer"]

_TYPES = frozenset({"null", "bytes", "bytearray", "msgpack"})
"""What `dumps_typed` writes; ``json`` and ``pickle``, which LangGraph could read too, restore objects."""


class PlainDataSerializer(JsonPlusSerializer):
    """LangGraph's serializer with `loads_typed` restricted. Raises `CorruptError` (SG606) for anything else."""

    def __init__(self) -> None:
        super().__init__(__unpack_ext_hook__=_restored)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        if data[0] not in _TYPES:
            raise _corrupt(f"a value of the type {data[0]!r}")
        try:
            return super().loads_typed(data)
        except ValueError as error:
            raise _corrupt("a value that is neither plain data nor a type of LangGraph's own") from error


# LangGraph's own hook for its safe types, for which there is no public name
_safe = JsonPlusSerializer(allowed_msgpack_modules=None)._unpack_ext_hook  # pyright: ignore[reportPrivateUsage]


def _restored(code: int, packed: bytes) -> Any:
    """A value that is not plain. Raises `ValueError` when it, or a value inside it, is not on the list."""
    match ormsgpack.unpackb(packed, ext_hook=_restored, option=ormsgpack.OPT_NON_STR_KEYS):
        case [str(module), str(name), _, str(method)] if code == EXT_METHOD_SINGLE_ARG:
            safe = (module, name, method) in SAFE_MSGPACK_METHODS
        case [str(module), str(name), *_]:
            safe = code != EXT_METHOD_SINGLE_ARG and (module, name) in SAFE_MSGPACK_TYPES
        case _:
            safe = False
    if not safe:
        raise ValueError
    return _safe(code, packed)


def _corrupt(what: str) -> CorruptError:
    return CorruptError(f"a checkpoint holds {what}", hint="Find out who wrote it, then restore the file from a backup")
