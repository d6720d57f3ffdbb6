"""Authentication: callers are identified by what the operator trusts, never by their own claims.

A server uses one of three methods: bearer tokens in a file of the operator's (only their hashes are kept), a
header that a gateway in front sets, or one fixed user for local trials.
"""

from sluicegate.serving.http.callers.caller import Caller, Callers, Claims, Headers, Named
from sluicegate.serving.http.callers.fixed import FixedCaller
from sluicegate.serving.http.callers.token_file import Token, TokenFile
from sluicegate.serving.http.callers.trusted_header import TrustedHeader

__all__ = ["Caller", "Callers", "Claims", "FixedCaller", "Headers", "Named", "Token", "TokenFile", "TrustedHeader"]
