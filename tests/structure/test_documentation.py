"""Every code block of docs/any-network.md runs, in order, as one program."""

import pathlib
import re

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "any-network.md"


def test_code_blocks_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names = {"__name__": "document"}
    exec("\n".join(blocks), names)
    small, shrunk = names["small"], names["shrunk"]
    assert small.difference < 1e-5 and small.macs[1] < 0.8 * small.macs[0]
    assert shrunk.num_parameters[1] < shrunk.num_parameters[0]
    assert "removable channels" in capsys.readouterr().out
