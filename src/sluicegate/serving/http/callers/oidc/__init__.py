"""Tokens of OpenID providers: which are believed, who their callers are, and how a browser gets one.

`settings` is the operator's file, `provider` a provider's metadata and keys, `verification` what a token must be,
`mapping` who its subject is to the policies; `bearer` puts them together for calls, `code_flow` for a browser.
"""
