"""Every code block of docs/sparsity.md runs, in order, as one program, and shows what it is meant to show."""

import math
import pathlib
import re

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "sparsity.md"


def test_code_blocks_learn_something_and_make_some_groups_zero_but_not_all(capsys):
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) == 3
    names = {"__name__": "document"}
    exec("\n".join(blocks), names)
    printed = capsys.readouterr().out
    assert "Conv_1" in printed and "total" in printed
    for params in (names["params"], names["at_target"]):
        assert names["loss_of"](params) < 0.5 * math.log(10)
        assert 20 < names["sparsity"].sparsity_summary(params, names["groups"]).group_percent < 80
    assert names["error_of"](names["model"]) < 0.1 * names["before"]
    assert 20 < names["linear"].group_percent < 80
