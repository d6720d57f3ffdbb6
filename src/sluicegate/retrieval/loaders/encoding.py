"""Bytes into text: by byte order mark, as UTF-8, as the file declares, and else by detection, which is reported."""

import codecs
import re

__all__ = ["clean", "decoded", "encoding_of"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"<(?:meta\b[^>]*?\bcharset|\?xml\b[^>]*?\bencoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_ISO = re.compile(r"iso-?8859-?1|latin-?1|us-ascii|ascii", re.IGNORECASE)
_FOREIGN = 0.25
"""Minimum share of bytes that are not ASCII before a guess at another script than the Latin one is believed."""
_OTHER_SCRIPTS = frozenset(
    {"cp1251", "koi8_r", "koi8_u", "cp1253", "cp1255", "cp1256", "cp932", "shift_jis", "euc_jp", "gb18030", "gbk",
     "gb2312", "big5", "cp949", "euc_kr", "cp874", "tis_620"}
)  # fmt: skip
"""Encodings that detection may find; the many Latin ones differ too little for it."""


def decoded(data: bytes) -> str:
    """The text. Raises `ValueError`."""
    name, _ = encoding_of(data)
    return clean(data.decode(name))


def encoding_of(data: bytes, *, markup: bool = False) -> tuple[str, str]:
    """The encoding by which it can be read, and a note where it had to be guessed. Raises `ValueError`."""
    for mark, name in _MARKS:
        if data.startswith(mark):
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
    return _fits(declared, data), ""


def _declared(data: bytes) -> str | None:
    """The encoding that HTML or XML names in its first kilobyte, as browsers read it."""
    found = _DECLARED.search(data, 0, 1024)
    name = found[1].decode("ascii", "replace") if found else ""
    if not name or re.match(r"utf-?(?:8|16)", name, re.IGNORECASE):
        return None
    if _ISO.fullmatch(name):
        return "cp1252"
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError(f"declares the encoding {name!r}, which nobody knows") from None


def _guessed(data: bytes, error: UnicodeDecodeError) -> tuple[str, str]:
    from charset_normalizer import from_bytes

    name = "cp1252"
    if sum(byte > 0x7F for byte in data) > _FOREIGN * len(data):
        best = from_bytes(data).best()
        name = best.encoding if best and best.encoding in _OTHER_SCRIPTS else name
    try:
        data.decode(name)
    except UnicodeDecodeError:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"not UTF-8 (byte 0x{data[error.start]:02x} in line {line}), and no other encoding fits; save it as UTF-8"
        ) from None
    return name, f"not UTF-8: read as {name}, by detection; save it as UTF-8 if characters are wrong"


def _fits(name: str, data: bytes) -> str:
    try:
        data.decode(name)
    except UnicodeDecodeError as error:
        raise ValueError(f"says that it is {name}, but byte 0x{data[error.start]:02x} is not") from error
    return name


def clean(text: str) -> str:
    """The text without a mark, NULs, lone surrogates and foreign line ends, which SQLite or Arrow would reject."""
    text = text.removeprefix("\ufeff")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    return text.encode("utf-8", "replace").decode("utf-8")
