"""Bytes into text: by byte order mark, as UTF-8, as the file declares, and else by detection, which is reported."""

import codecs
import re
from contextlib import suppress

from sluicegate.language import probability_of

__all__ = ["clean", "decoded", "decoded_as", "encoding_of", "marked"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"<(?:meta\b[^>]*?\bcharset|\?xml\b[^>]*?\bencoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_AS_BROWSERS = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "euc_kr": "cp949",
}  # fmt: skip
"""For what an encoding's name is used, beside what it means to Python (WHATWG, Encoding Standard, section 4.2)."""
_CENTRAL = frozenset({"bs", "cs", "hr", "hu", "pl", "ro", "sk", "sl", "sq"})
_BALTIC = frozenset({"et", "lt", "lv"})
_LATIN = {
    "cp1250": _CENTRAL, "iso8859-2": _CENTRAL, "cp1254": frozenset({"az", "tr"}), "cp1257": _BALTIC,
    "iso8859-4": _BALTIC, "iso8859-13": _BALTIC, "cp1258": frozenset({"vi"}),
}  # fmt: skip
"""Of the Latin encodings that share most bytes with Windows-1252 the languages that need them: a few pound or micro
signs say as little for one as for the other."""


def decoded(data: bytes) -> str:
    """The text. Raises `ValueError`."""
    name, _ = encoding_of(data)
    return clean(data.decode(name))


def encoding_of(data: bytes, *, markup: bool = False) -> tuple[str, str]:
    """The encoding by which it can be read, and a note where it had to be guessed. Raises `ValueError`."""
    if name := marked(data):
        return _fits(name, data), ""
    if b"\x00" in data[:4096]:
        raise ValueError("contains NUL bytes: it is not text, or it is UTF-16 without a byte order mark")
    declared = _declared(data) if markup else None
    try:
        # what is valid UTF-8 beyond ASCII is UTF-8, whatever it declares; an escape belongs to ISO-2022
        if not (declared and b"\x1b" in data):
            data.decode("utf-8")
            return "utf-8", ""
    except UnicodeDecodeError as error:
        if not declared:
            return _guessed(data, error)
    assert declared
    return _fits(_codec(declared), data, declared), ""


def marked(data: bytes) -> str:
    """The encoding that its byte order mark tells; empty without one."""
    return next((name for mark, name in _MARKS if data.startswith(mark)), "")


def decoded_as(data: bytes, declared: str, *, markup: bool = False) -> tuple[str, str]:
    """The text of a part that came with the name of its encoding, and a note where it had to be guessed, since the name
    is often wrong. Raises `ValueError`."""
    known = _known(declared)
    name = _codec(known) if known and codecs.lookup(known).name != "ascii" else ""
    for each in ("utf-8", name) if name == "cp1252" else (name,):
        with suppress(UnicodeDecodeError, LookupError):
            return clean(data.decode(each)), ""
    name, note = encoding_of(data, markup=markup)
    return clean(data.decode(name)), note


def _declared(data: bytes) -> str | None:
    """The encoding that HTML or XML names in its first kilobyte, as browsers read it."""
    found = _DECLARED.search(data, 0, 1024)
    name = found[1].decode("ascii", "replace") if found else ""
    return _known(name) if name and not re.match(r"utf-?(?:8|16)", name, re.IGNORECASE) else None


def _known(name: str) -> str | None:
    """A name of an encoding, unless nobody knows it: then it tells nothing."""
    try:
        b" ".decode(name)
    except (LookupError, ValueError):
        return None
    return name


def _codec(name: str) -> str:
    """Raises `LookupError`."""
    known = codecs.lookup(name).name
    return _AS_BROWSERS.get(known, known)


def _guessed(data: bytes, error: UnicodeDecodeError) -> tuple[str, str]:
    from chardetng_py import detect

    try:
        name = _codec(detect(data))
        if (languages := _LATIN.get(name)) and not _written_in(data.decode(name), languages):
            name = "cp1252"
        data.decode(name)
    except (LookupError, UnicodeDecodeError):
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"not UTF-8 (byte 0x{data[error.start]:02x} in line {line}), and no other encoding fits; save it as UTF-8"
        ) from None
    return name, f"not UTF-8: read as {name}, by detection; save it as UTF-8 if characters are wrong"


def _written_in(text: str, languages: frozenset[str]) -> bool:
    """Whether the lines that have letters beyond ASCII are."""
    return probability_of("\n".join(line for line in text.splitlines() if not line.isascii()), languages) > 0.5


def _fits(name: str, data: bytes, said: str = "") -> str:
    try:
        data.decode(name)
    except UnicodeDecodeError as error:
        raise ValueError(f"says that it is {said or name}, but byte 0x{data[error.start]:02x} is not") from error
    return name


def clean(text: str) -> str:
    """The text without a mark, NULs, lone surrogates and foreign line ends, which SQLite or Arrow would reject."""
    text = text.removeprefix("\ufeff")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    return text.encode("utf-8", "replace").decode("utf-8")
