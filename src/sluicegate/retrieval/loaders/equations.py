"""Equations of Word files (OMML, ECMA-376 part 1, chapter 22.1) as they are written on one line: `(a + b)/c`, `x^2`."""

import re
from typing import Any

__all__ = ["linear"]

_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"


def linear(node: Any) -> str:
    """The text of an `m:oMath` or of a part of one."""
    name = str(node.tag).removeprefix(_M)
    if name == "t":
        return str(node.text or "")
    part = {str(child.tag).removeprefix(_M): child for child in node if not str(child.tag).endswith("Pr")}

    def said(key: str) -> str:
        return linear(part[key]).strip() if key in part else ""

    match name:
        case "f":
            return f"{_group(said('num'))}/{_group(said('den'))}"
        case "sSup" | "sSub" | "sSubSup":
            return f"{_group(said('e'))}{_scripts(said('sub'), said('sup'))}"
        case "rad":
            return f"{said('deg')}√{_group(said('e'))}"
        case "nary":
            return f"{_setting(node, 'chr', '∫')}{_scripts(said('sub'), said('sup'))} {said('e')}"
        case "d":
            inner = _setting(node, "sepChr", "|").join(linear(each).strip() for each in node.findall(f"{_M}e"))
            return f"{_setting(node, 'begChr', '(')}{inner}{_setting(node, 'endChr', ')')}"
        case "func":
            inner = said("e")
            return f"{said('fName')}{inner if inner[:1] == '(' else f'({inner})'}"
        case "m":
            rows = (
                ", ".join(linear(cell).strip() for cell in row.findall(f"{_M}e")) for row in node.findall(f"{_M}mr")
            )
            return "; ".join(rows)
        case _:
            return "".join(linear(child) for child in node if not str(child.tag).endswith("Pr"))


def _group(text: str) -> str:
    """In brackets, unless it is one word or has them."""
    return text if re.fullmatch(r".|[\w.,′°%]*|\([^()]*\)", text) else f"({text})"


def _scripts(below: str, above: str) -> str:
    return (f"_{_group(below)}" if below else "") + (f"^{_group(above)}" if above else "")


def _setting(node: Any, name: str, usual: str) -> str:
    """A sign that the node's properties name; one that is named as empty is none."""
    found = node.find(f"{_M}{str(node.tag).removeprefix(_M)}Pr/{_M}{name}")
    return usual if found is None else str(found.get(f"{_M}val") or "")
