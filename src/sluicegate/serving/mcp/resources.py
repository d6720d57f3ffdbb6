"""The sources of answers as resources: the passages of a document that a run has read, for who may read all of them."""

from urllib.parse import quote, unquote

from mcp.types import ReadResourceResult, ResourceLink, ResourceTemplate, TextResourceContents

from sluicegate.serving.mcp.messages import CitedResource
from sluicegate.serving.workflows import Workflows
from sluicegate.state import Principal

__all__ = ["TEMPLATE", "link_to", "read", "uri_of"]

_SCHEME = "sluicegate://runs/"
_TEXT = "text/plain"

TEMPLATE = ResourceTemplate(
    name="source",
    title="Source of an answer",
    uri_template=f"{_SCHEME}{{run}}/documents/{{document}}",
    description="The passages of a document that a run has read. An answer's citations have its address.",
    mime_type=_TEXT,
)


def uri_of(run: str, document: str) -> str:
    """The address of what a run has read of a document."""
    return f"{_SCHEME}{run}/documents/{quote(document, safe='')}"


def link_to(cited: CitedResource) -> ResourceLink:
    """What a client may offer to open beside an answer."""
    return ResourceLink(name=cited.document, title=cited.title or cited.document, uri=cited.uri, mime_type=_TEXT)


async def read(uri: str, workflows: Workflows, asker: Principal) -> ReadResourceResult | None:
    """The passages, each a content of its own; None for an address that is of no such resource.

    Raises as `Service.passages`.
    """
    run, _, document = uri.removeprefix(_SCHEME).partition("/documents/")
    if not uri.startswith(_SCHEME) or not run or not document:
        return None
    service = await workflows.of_run(run)
    texts = await service.passages(run, unquote(document), asker)
    return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type=_TEXT, text=text) for text in texts])
