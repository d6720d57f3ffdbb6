"""Metadata that protects a document is read wherever it stands, or the file is refused; other keys are let be."""

from pathlib import Path

import pytest

from sluicegate.retrieval.acl import Document, day_number
from sluicegate.retrieval.config import IndexConfig
from sluicegate.retrieval.loaders import load
from sluicegate.retrieval.metadata import document

OPEN = IndexConfig(path=("k",), approved=True, readers=("everyone",))


def read(folder: Path, text: str, name: str = "a.md") -> Document:
    path = folder / name
    path.write_text(text, "utf-8")
    loaded = load(path)
    return document(loaded.raw, OPEN, file=name, title=loaded.title, text_hash="0" * 64)


@pytest.mark.parametrize(
    "top",
    [
        "---\napproved: false\nvalid_until: 2020-01-01\n---\n",
        "\n\n---\napproved: false\nvalid_until: 2020-01-01\n---\n",
        "<!-- generated -->\n---\napproved: false\nvalid_until: 2020-01-01\n---\n",
        "----\napproved: false\nvalid_until: 2020-01-01\n----\n",
        "+++\napproved = false\nvalid_until = 2020-01-01\n+++\n",
        '{"approved": false, "valid_until": "2020-01-01"}\n',
        "---\ndraft: true\nexpiryDate: 2020-01-01\n---\n",
        "---\npublished: no\nexpires: 2020-01-01T10:00:00Z\napproved: true\n---\n",
        "---\nstatus: Draft\nexpires: 2020-01-01\nvalid_until: 2030-01-01\n---\n",
    ],
)
def test_every_form_of_front_matter_is_read(tmp_path: Path, top: str) -> None:
    found = read(tmp_path, f"{top}# Tariff\n\nThe tariff is 17 euros.\n")
    assert (found.approved, found.valid_until, found.title) == (False, 20200101, "Tariff")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("# Tariff\n\n---\napproved: false\n---\nText.\n", "not read: 'approved: false'"),
        ("Title: Tariff\nApproved: false\n\nText.\n", "not read"),
        ("<!--\nreaders: role:hr\n-->\nText.\n", "not read"),
        ("---\ntitle: a\n---\n\n---\nvalid_until: 2020-01-01\n---\nText.\n", "not read"),
        ("```yaml\n```\ndraft: true\n\nText.\n", "not read"),
        ("```yaml\ndraft: true\n```\n\nText.\n", "not read"),
        (":status: draft\n:author: ann\n\nText.\n", "not read"),
        ("#+DRAFT: true\n\nText.\n", "not read"),
        ("**Status:** Draft\n\nText.\n", "not read"),
        ("Valid until: 2020-01-01\n\nText.\n", "not read"),
        (';;;\n{"draft": true}\n;;;\nText.\n', "not read"),
        ("---\nembargo: 2999-01-01\n---\nText.\n", "not to be read before 2999-01-01"),
        ("---\npublishDate: 2999-01-01T10:00\n---\nText.\n", "not to be read before 2999-01-01"),
        ("---\napproved:\n---\nText.\n", "approved is empty"),
        ("---\nreaders: ~\n---\nText.\n", "readers is empty"),
        ("---\nmetadata:\n  readers: role:hr\n---\nText.\n", "under 'metadata'"),
        ("---\nvalidUntil: 2020-01-01\n---\nText.\n", "did you mean 'valid_until'"),
        ("---\nApproved: false\n---\nText.\n", "did you mean 'approved'"),
        ("---\naproved: false\n---\nText.\n", "did you mean 'approved'"),
        ("---\nclearence: restricted\n---\nText.\n", "did you mean 'clearance'"),
        ("---\nexpires: soon\n---\nText.\n", "'soon' is not a day"),
        ("---\ndraft: maybe\n---\nText.\n", "neither true nor false"),
        ("+++\nreaders = 'hr'\n+++\nText.\n", "write role:hr"),
        ("+++\napproved = false\nText.\n", "does not end"),
        ('{"approved": false, "approved": true}\nText.\n', "twice"),
    ],
)
def test_what_would_protect_but_is_not_read_is_an_error(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "---\ntitle: Passkeys\nshortTitle: Keys\nversions:\n  fpt: '*'\ntopics:\n- Identity\n---\nText.\n",
        "---\nreviewers:\n- anna\ntitle: Passkeys\ncontent_type: concept\nweight: 10\nheaders: x\n---\nText.\n",
        "---\ntitle: Passkeys\ndraft: false\npublished: 2020-01-01\nstatus: stable\nowners: ann\ntag: a\n---\nText.\n",
        "# Passkeys\n\n---\n\nReading: a rule above and one below.\n\n---\n",
        "----\n\n# Passkeys\n\n----\n",
        "# Passkeys\n\n```yaml\napproved: false\n```\n\nThe status: draft is explained here, approved or not.\n",
        "# Passkeys\n\nIt expires: after a day.\n\n{% include x %}\n",
        "# Passkeys\n\n{% highlight yaml %}\napproved: false\n{% endhighlight %}\n",
        "# Passkeys\n\n{{< code-toggle >}}\ndraft = true\n{{< /code-toggle >}}\n",
        "# Passkeys\n\nvisibility: hidden\n\n**State:** pending\n\nAccess: private\n\n**Fee:** 4\n",
        "---\ntitle: Passkeys\npublishDate: 2020-01-01\nvisibility: public\nstate: stable\nhidden: false\n---\nText.\n",
    ],
)
def test_ordinary_documents_stay_open(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert (found.title, found.approved, found.valid_until) == ("Passkeys", True, day_number(None))


@pytest.mark.parametrize(
    "line",
    ["hidden: true", "visibility: private", "state: draft", "review_status: pending", "withdrawn: 2020-01-01",
     "obsolete: yes", "archived: 2020-01-01", "Document-Status: Under review", "unpublished: true",
     "lifecycle: retired"],
)  # fmt: skip
def test_keys_of_other_systems_close_a_document(tmp_path: Path, line: str) -> None:
    assert not read(tmp_path, f"---\napproved: true\n{line}\n---\nText.\n").approved


@pytest.mark.parametrize(
    ("lines", "clearance"),
    [
        ("classification: Confidential", "confidential"),
        ("sensitivity: top secret", "restricted"),
        ("access: restricted\nclearance: public", "restricted"),
        ("Security-Classification: Strictly confidential", "restricted"),
        ("confidentiality: internal", "internal"),
        ("classification: public\nclearance: confidential", "confidential"),
    ],
)
def test_words_for_secrecy_ask_for_a_clearance(tmp_path: Path, lines: str, clearance: str) -> None:
    assert read(tmp_path, f"---\n{lines}\n---\nText.\n").clearance == clearance


def test_meta_tags_of_a_page_are_read_alike(tmp_path: Path) -> None:
    tags = '<meta name="viewport" content="x"><meta name="Approved" content="false">'
    assert not read(tmp_path, f"{tags}<p>Text.</p>", "a.html").approved
    assert not read(tmp_path, '<meta name="draft" content="true"><p>Text.</p>', "a.html").approved
    expiring = '<meta property="article:expiration_time" content="2020-01-01T00:00"><p>Text.</p>'
    assert read(tmp_path, expiring, "a.html").valid_until == 20200101
    with pytest.raises(ValueError, match="readers twice"):
        read(tmp_path, '<meta name="readers" content="a"><meta name="readers" content="b"><p>Text.</p>', "a.html")
    with pytest.raises(ValueError, match="did you mean 'readers'"):
        read(tmp_path, '<meta name="reader" content="role:hr"><p>Text.</p>', "a.html")
