"""The commands that a document gives its reader, so that tests run those and no others."""

import re

from support.processes import REPOSITORY


def commands(document: str, section: str) -> list[str]:
    """The lines of the shell blocks under a heading (`## section`) of a document, one command each."""
    text = (REPOSITORY / document).read_text()
    found = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{document} has no section {section!r}"
    blocks = re.findall(r"^```sh\n(.*?)^```", found[1], re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]
