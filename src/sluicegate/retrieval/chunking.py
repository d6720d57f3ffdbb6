"""Chunking: documents into passages of at most a given size, each with its position and hash."""

import hashlib
from dataclasses import dataclass

from sluicegate.retrieval.config import ChunkConfig
from sluicegate.retrieval.loaders import Loaded

__all__ = ["Chunk", "content_hash", "cut"]


@dataclass(frozen=True, slots=True)
class Chunk:
    start: int
    """Character offset in the loaded document's text."""
    end: int
    text: str
    hash: str


def content_hash(text: str) -> str:
    """SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def cut(loaded: Loaded, chunk: ChunkConfig) -> list[Chunk]:
    """Passages in reading order; they cover the text but for white space at their edges, and never cross a section.

    `loaded.text[passage.start:passage.end] == passage.text` holds for each.
    """
    from langchain_text_splitters import MarkdownTextSplitter, RecursiveCharacterTextSplitter

    kind = MarkdownTextSplitter if loaded.markdown else RecursiveCharacterTextSplitter
    splitter = kind(chunk_size=chunk.size, chunk_overlap=chunk.overlap)
    passages: list[Chunk] = []
    for section_start, section_end in loaded.sections or ((0, len(loaded.text)),):
        section = loaded.text[section_start:section_end]
        reached = 0
        ended = 0
        for text in splitter.split_text(section):
            # a passage starts after its predecessor did, and at most `overlap` characters before that one's end;
            # the splitter's own search is by size and misplaces passages in repetitive text
            reached = section.index(text, max(reached, ended - chunk.overlap))
            ended = reached + len(text)
            start = section_start + reached
            passages.append(Chunk(start, start + len(text), text, content_hash(text)))
            reached += 1
    return passages
