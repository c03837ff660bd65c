"""The folder of faces: what the maps tell, what only CelebAMask-HQ tells, and one line for what is wrong."""

import pathlib
import sys

import numpy as np
import pytest
import yaml

from lim_jax.data.sources import celebamask_hq, folder
from lim_jax.errors import UserError
from scripts import faces_folder
from tests.data import celeba_trees
from tests.scripts import made_up_faces

SHARED = pathlib.Path(__file__).parents[2] / "../shared/data"


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    return folder.describe(str(made_up_faces.made(tmp_path_factory.mktemp("faces"))))


def _read(described, row):
    return folder.read_row(row, described.targets, (8, 8))["targets"]


def test_maps_tell_the_mouth_and_nothing_of_smiles(described):
    rows = [row for row in described.rows if row.image.name.startswith("maps")]
    assert len(rows) == 10
    for row in rows:
        targets = _read(described, row)
        assert targets["mouth_open"] == made_up_faces.is_open(int(row.image.stem.removeprefix("maps_")))
        assert targets["eyeglasses"] == 0 and targets["male"] == targets["smiling"] == -1
        assert targets["segmentation"][:, 0].tolist() == [1, 1, 0, 0, 0, 0, 2, 2], "hair, skin, background"


def test_parts_become_a_map_and_attributes_are_kept(described):
    rows = [row for row in described.rows if row.image.name.startswith("celeba")]
    assert len(rows) == 10
    for row in rows:
        targets, identity = _read(described, row), int(row.image.stem.removeprefix("celeba_"))
        np.testing.assert_array_equal(targets["segmentation"], celeba_trees.classes())
        assert targets["eyeglasses"] == 1 and targets["mouth_open"] == 0
        for name in ("male", "smiling"):
            index = celebamask_hq.ATTRIBUTE_NAMES.index(name)
            assert targets[name] == (celeba_trees.attribute(identity, index) == 1)


def test_each_split_has_its_share_of_either_source(described):
    for split, number in (("train", 6), ("validation", 2), ("test", 2)):
        names = [row.image.name for row in described.of(split)]
        assert sum(name.startswith("maps") for name in names) == len(names) - number == number


def test_the_command_line_without_attributes(tmp_path, monkeypatch, capsys):
    maps, output = made_up_faces.write_maps(tmp_path / "maps"), tmp_path / "faces"
    monkeypatch.setattr(sys, "argv", ["faces_folder.py", f"--maps={maps}", f"--output={output}"])
    faces_folder.main()
    printed = capsys.readouterr().out.splitlines()
    assert "mouth_open: 5 of 10 yes (50 %)" in printed and printed[-1] == f"10 faces in {output}"
    assert set(yaml.safe_load((output / "tasks.yaml").read_text())) == {"segmentation", *faces_folder.TOLD_BY_MAPS}
    described = folder.describe(str(output))
    assert [row.labels["mouth_open"] for row in described.rows].count(1) == 5
    with pytest.raises(UserError, match=r"manifest\.csv exists already"):
        faces_folder.make(maps, None, output)


MISTAKES = {
    "other labels": (lambda maps: (maps / "labels.txt").write_text("skin\nhair\n"), "does not name CelebAMask-HQ's"),
    "no labels.txt": (lambda maps: (maps / "labels.txt").unlink(), r"labels\.txt"),
    "a mask is missing": (lambda maps: (maps / "masks/0003.png").unlink(), r"cannot read .*0003\.png"),
}


@pytest.mark.parametrize(("spoil", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line_and_leave_no_manifest(tmp_path, spoil, message):
    maps = made_up_faces.write_maps(tmp_path / "maps")
    spoil(maps)
    with pytest.raises(UserError, match=message) as caught:
        faces_folder.make(maps, None, tmp_path / "faces")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "faces/manifest.csv").exists()


def test_real_faces(tmp_path):
    """A few of either source: the maps of both are read alike, and in each a face is in the middle."""
    if not SHARED.is_dir():
        pytest.skip("faces_19class and celebamask_hq_mini are not here")
    maps, celeba = SHARED.resolve() / "faces_19class", SHARED.resolve() / "celebamask_hq_mini"
    few = tmp_path / "maps"
    (few / "images").mkdir(parents=True)
    for image in sorted((maps / "images").glob("*.jpg"))[:10]:
        (few / "images" / image.name).symlink_to(image)
    for name in ("masks", "labels.txt"):
        (few / name).symlink_to(maps / name)
    faces_folder.make(few, celeba, tmp_path / "faces")
    described = folder.describe(str(tmp_path / "faces"))
    for row in described.rows[::20]:
        labels = folder.read_row(row, described.targets, (64, 64))["targets"]["segmentation"]
        assert set(np.unique(labels)) <= {0, 1, 2}
        assert labels[36, 32] == 0, "the middle of a face is skin"
