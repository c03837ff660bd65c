"""The arrows of the architecture: no import goes up, and the drawing in the documentation shows those of today."""

import draw_architecture as architecture
import pytest

FOUND = sorted(architecture.imports(architecture.ROOT), key=str)
ORDER = [name for _, names in architecture.LAYERS for name in names]


def offenders(is_wrong):
    """Returns the imports for which `is_wrong(room of the source, room of the target)`, as text."""
    found = [
        f"{one.source} imports {one.target}"
        for one in FOUND
        if architecture.room(one.source) != architecture.room(one.target)
        and one.target != architecture.PACKAGE
        and is_wrong(architecture.room(one.source), architecture.room(one.target))
    ]
    return sorted(set(found))


def test_every_module_is_in_a_room_with_a_place_and_a_description():
    rooms = {architecture.room(module) for module in architecture.modules(architecture.ROOT)}
    assert rooms == set(ORDER) == set(architecture.ROOMS)
    assert len(ORDER) == len(set(ORDER))


def test_no_import_goes_up():
    assert not offenders(lambda source, target: ORDER.index(target) < ORDER.index(source))


@pytest.mark.parametrize(
    ("rooms", "unknown"),
    [
        (("sparsity", "compaction", "ops", "models"), ("tasks", "data", "data.specs", "training")),
        (("sparsity", "ops"), ("models",)),
    ],
)
def test_what_networks_are_made_of_knows_nothing_of(rooms, unknown):
    assert not offenders(lambda source, target: source in rooms and target in unknown)


def test_nobody_imports_a_verb_or_the_front_door():
    verbs = {f"{architecture.PACKAGE}.{name}" for name in architecture.VERBS}
    allowed = [architecture.Import("lim_jax.data.__main__", "lim_jax", "look")]  # its older name
    allowed += [architecture.Import("lim_jax.data.__main__", "lim_jax.look")]
    allowed += [one for one in FOUND if (one.source, one.target) == ("lim_jax", "lim_jax.library")]  # what it offers
    wrong = [one for one in FOUND if one.target in verbs and one not in allowed]
    wrong += [one for one in FOUND if one.target == architecture.PACKAGE and one.name != "__version__"]
    assert not wrong


def test_the_drawing_is_of_today():
    drawn = architecture.arrows_in(architecture.PICTURES[0])
    assert drawn == architecture.arrows(FOUND), "draw it again: python scripts/draw_architecture.py"


def test_imports_are_found_wherever_they_stand(tmp_path):
    files = {
        "__init__.py": "",
        "errors.py": "",
        "tasks/__init__.py": "",
        "tasks/base.py": "from lim_jax import errors, __version__",
        "models/layers.py": "import jax\ndef f():\n    from lim_jax.tasks.base import Task, Metric",
        "main.py": "if True:\n    import lim_jax.models.layers as layers\nfrom lim_jax.tasks import base",
    }
    for name, text in files.items():
        path = tmp_path / "lim_jax" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = architecture.imports(tmp_path)
    assert {(one.source, one.target, one.name) for one in found} == {
        ("lim_jax.tasks.base", "lim_jax.errors", None),
        ("lim_jax.tasks.base", "lim_jax", "__version__"),
        ("lim_jax.models.layers", "lim_jax.tasks.base", "Task"),
        ("lim_jax.models.layers", "lim_jax.tasks.base", "Metric"),
        ("lim_jax.main", "lim_jax.models.layers", None),
        ("lim_jax.main", "lim_jax.tasks.base", None),
    }
    drawn = architecture.arrows(found)
    assert drawn == {
        ("models", "tasks"): 1,
        ("tasks", "errors"): 1,
        ("verbs", "models"): 1,
        ("verbs", "tasks"): 1,
    }
    picture = tmp_path / "drawing.svg"
    architecture.draw(drawn, architecture.order({"verbs", "tasks", "models", "errors"}, drawn), picture)
    assert architecture.arrows_in(picture) == drawn
