"""Every code block of docs/sparsity.md runs, in order, as one program."""

import pathlib
import re

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "sparsity.md"


def test_code_blocks_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) >= 3
    exec("\n".join(blocks), {"__name__": "document"})
    printed = capsys.readouterr().out
    assert "Conv_1" in printed and "total" in printed
