"""Damaged files of every kind: each reader gives a result or one clear line, and neither hangs nor crashes."""

import numpy as np
import pytest

from tests import fuzzing

MUTATIONS = 300


@pytest.mark.parametrize("name", fuzzing.FILES)
def test_damaged_files_are_read_or_refused(name, tmp_path):
    file = fuzzing.FILES[name]
    path, read = file.make(tmp_path)
    refused = fuzzing.survives(path, read, MUTATIONS, np.random.default_rng(0))
    assert refused == 0 if file.refused is None else refused > file.refused
