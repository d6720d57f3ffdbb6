"""Texts that would be scripts, were they put into a page as they are. `tests.support.browser` notices the call."""

__all__ = ["CALL", "EVERY", "PAYLOADS"]

CALL = "alert(1)"
PAYLOADS = [
    f"<script>{CALL}</script>",
    f'"><img src=x onerror={CALL}>',
    f"'><svg/onload={CALL}>",
    f"</textarea><script>{CALL}</script>",
    f"</title></style></script><script>{CALL}</script>",
    f"<details open ontoggle={CALL}>",
    f"<input autofocus onfocus={CALL}>",
    f"<iframe srcdoc='<script>parent.{CALL}</script>'></iframe>",
    f"<a href=javascript:{CALL} data-item data-key=j>x</a>",
    f'<meta http-equiv=refresh content="0; url=javascript:{CALL}">',
    f"<base href=//evil.example><form action=javascript:{CALL}><button name=verdict>",
    f"<div hx-get=/console hx-trigger=load hx-on:load={CALL} hx-vals='js:{{a: {CALL}}}'></div>",
    f"<div data-hx-get=/console data-hx-trigger='load[{CALL}]' data-hx-on::after-request={CALL}></div>",
    f"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src onerror={CALL}&gt;'>",
    f"<template><script>{CALL}</script></template><noscript><p title='</noscript><img src=x onerror={CALL}>'>",
    f"`<img src=x onerror={CALL}>`",
    f"{{{{ cycler.__init__.__globals__ }}}}{{% print 7 * 7 %}}${{{CALL}}}",
    f"&lt;script&gt;{CALL}&lt;/script&gt; &#60;img src=x onerror={CALL}&#62;",
    f"+ADw-script+AD4-{CALL}+ADw-/script+AD4- ]]> --> --!>",
]
EVERY = "\n".join(PAYLOADS)
