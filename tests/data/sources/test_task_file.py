"""tasks.yaml as people write it at first: each misunderstanding gets a sentence, not Python's."""

import pytest

from lim_jax.data.sources import task_file
from lim_jax.errors import UserError

SENTENCES = {
    "YAML's booleans": ("classes: [no, yes]", r'a class is called false, as YAML reads no, yes, .*"no", "yes"'),
    "a class named by a boolean": ("classes: [{name: off}, {name: on}]", "a class is called false"),
    "a class without a name": ("classes: [{labels: [1]}]", "a class has the name None: write a word"),
    "classes are missing": ("ignore: [255]", r'it has no classes: write "classes: \[sky, sea\]"'),
    "classes are empty": ("classes:", "classes is empty: write"),
    "classes are a word": ("classes: sky", "classes is 'sky', which is no list: write"),
    "labels are a number": ("classes: [{name: a, labels: 1}]", r'labels is 1, which is no list: write "labels: \[0\]"'),
    "labels are a word": ("classes: [{name: a, labels: all}]", "labels is 'all', which is no list"),
    "labels are empty": ("classes: [{name: a, labels: }]", "labels is empty: write"),
    "ignore is a number": ("classes: [a]\n  ignore: 255", r'ignore is 255, which is no list: write "ignore: \[255\]"'),
    "ignore is empty": ("classes: [a]\n  ignore:", r'ignore is empty: write "ignore: \[255\]", or'),
    "255 is a class": (
        "classes: [{name: a, labels: [0]}, {name: b, labels: [255]}]",
        r"255 is a label of 'b', but ignored by default: write 'ignore: \[\]'",
    ),
    "a class with another option": ("classes: [{name: a, colour: [1, 2, 3]}]", "a class has name, .*, not 'colour'"),
    "a colour that is none": ("classes: [{name: a, color: red}]", "give all classes a color"),
    "a label that is none": ("classes: [{name: a, labels: [1.5]}]", "1.5 is no label"),
    "a bomb": ("classes: {name: BOMB}", "classes is {'name': .*, which is no list"),
}  # fmt: skip


def read(folder, text):
    path = folder / "tasks.yaml"
    path.write_text(text)
    return task_file.read(path)


def _bomb() -> str:
    """A list in six lines that stands for a million words."""
    levels = ["&a [w, w, w, w, w, w, w, w, w, w]"]
    levels += [f"&{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in ("ab", "bc", "cd", "de", "ef")]
    return f"[{', '.join(levels)}]"


@pytest.mark.parametrize(("fields", "sentence"), SENTENCES.values(), ids=SENTENCES)
def test_segmentation(tmp_path, fields, sentence):
    text = f"parts:\n  type: segmentation\n  {fields.replace('BOMB', _bomb())}\n"
    with pytest.raises(UserError, match=f"task 'parts' is not understood: {sentence}") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


NUMBERS = {
    "a fraction": ("scale: 1/256", "scale is '1/256', which is no number: write 0.00390625"),
    "a unit": ("scale: 1mm", "scale is '1mm', which is no number: write 0.001"),
    "a truth": ("scale: yes", "scale is True, which is no number"),
    "nothing": ("scale:", "scale is None, which is no number"),
    "zero": ("scale: 0", "scale is positive"),
    "too large": (f"scale: 1{'0' * 400}", "too large"),
    "one number": ("range: 10", r"range is 10, which is no list: write .range: \[0.3, 10\]"),
    "three numbers": ("range: [1, 2, 3]", r"range is \[1, 2, 3\]: write two numbers"),
    "upside down": ("range: [3, 1]", "range is .from, to."),
}


@pytest.mark.parametrize(("field", "sentence"), NUMBERS.values(), ids=NUMBERS)
def test_depth(tmp_path, field, sentence):
    text = f"depth: {{type: depth, {field}}}" if field[-1] != ":" else f"depth:\n  type: depth\n  {field}\n"
    with pytest.raises(UserError, match=f"task 'depth' is not understood: .*{sentence}"):
        read(tmp_path, text)


VALUES = {
    "one class": ("{type: category, classes: [a]}", "classes are two names or more"),
    "a class with labels": ("{type: category, classes: [a, {name: b, labels: [1]}]}", "classes are two names or more"),
    "no classes": ("{type: category}", "it has no classes"),
    "one name twice": ("{type: category, classes: [rain, Rain]}", "two classes have the same name"),
    "a unit that is none": ("{type: number, unit: [m]}", "which is no|write a word"),
}


@pytest.mark.parametrize(("fields", "sentence"), VALUES.values(), ids=VALUES)
def test_categories_and_numbers(tmp_path, fields, sentence):
    text = f"weather: {fields}\n"
    with pytest.raises(UserError, match=f"task 'weather' is not understood: .*({sentence})"):
        read(tmp_path, text)


def test_numbers_that_yaml_takes_for_text(tmp_path):
    assert read(tmp_path, "depth: {type: depth, scale: 1e-3, range: [0, .inf]}")["depth"].scale == 1e-3


def test_a_name_may_begin_with_a_digit(tmp_path):
    assert list(read(tmp_path, "5_o_clock_shadow: {type: attribute}")) == ["5_o_clock_shadow"]


SPOILT = {
    "an impossible date": "a: 2001-99-99",
    "a number without end": "a: 1" + "0" * 5000,
    "nesting without end": "a: " + "[" * 5000,
    "a key that is a list": "{[1]: 2}",
    "Python": "a: !!python/object/apply:os.system [echo]",
}


@pytest.mark.parametrize("text", SPOILT.values(), ids=SPOILT)
def test_what_yaml_cannot_build(tmp_path, text):
    with pytest.raises(UserError, match="is not valid YAML or JSON") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


CHANGES = {
    "classes swapped": "classes: [sea, sky]",
    "labels swapped": "classes: [{name: sky, labels: [1]}, {name: sea, labels: [0]}]",
    "another value ignored": "classes: [sky, sea]\n  ignore: [254]",
}


@pytest.mark.parametrize("fields", CHANGES.values(), ids=CHANGES)
def test_the_meaning_of_a_task_changes_with_its_description(tmp_path, fields):
    path, meanings = tmp_path / "tasks.yaml", []
    for text in ("classes: [sky, sea]", fields):
        path.write_text(f"parts:\n  type: segmentation\n  {text}\n")
        meanings.append(task_file.read(path)["parts"].meaning())
    assert meanings[0] != meanings[1]
