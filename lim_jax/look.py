"""Look at your data: `python -m lim_jax.look --config=rooms --output=DIR`.

Prints what each split holds and what looks wrong with it, and writes the numbers to `DIR/data.json` and a few
examples with all their targets to `DIR/examples.png`. This is a verb: unlike the rest of the package it
may use what lies above the data.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from lim_jax import config as config_lib
from lim_jax.errors import UserError
from lim_jax.runtime import cli, outputs, whole_files

_EXAMPLES = 6  # in the picture


def define_flags() -> None:
    """Defines the verb's flags; apart from importing, so that verbs can be imported together."""
    config_lib.define_flag()
    flags.DEFINE_string("output", None, "The folder for data.json and examples.png; made if needed.")
    flags.DEFINE_bool("records", False, "List the prepared records instead.")
    flags.DEFINE_string("remove", None, "What to remove of the prepared records, 'old' or a name from their list.")


def main(argv: Sequence[str]) -> None:
    """Runs the verb on the parsed flags."""
    del argv
    if flags.FLAGS["config"].value is None:
        raise UserError("no configuration: add --config=rooms (or nyu, celeba, or the path of a file of yours)")
    if flags.FLAGS.records or flags.FLAGS.remove:
        from lim_jax.data import stored

        print(stored.report(config_lib.checked(flags.FLAGS.config).dataset.data_dir, flags.FLAGS.remove))
        return
    output = cli.required_path("output", "DIR, a folder for the numbers and the picture")
    from lim_jax import data
    from lim_jax.data import statistics
    from lim_jax.figures import style

    config = config_lib.checked(flags.FLAGS.config)
    outputs.made(output)
    dataset = data.load(config.dataset, config.tasks)
    splits = {split: statistics.describe(source, dataset.specs) for split, source in dataset.sources.items()}
    found = statistics.warnings(splits)
    whole_files.write_json(output / "data.json", {"splits": splits, "warnings": found})
    with style.context():
        draw_examples(dataset).savefig(output / "examples.png")
    print(table(splits))
    print("\n".join(f"warning: {sentence}" for sentence in found) or "nothing looks wrong")
    print(f"also in {output / 'data.json'}; examples in {output / 'examples.png'}")


def table(splits: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Returns the statistics as text, a paragraph per split."""
    lines = []
    for split, tasks in splits.items():
        number = next(iter(tasks.values()))["examples"]
        lines.append(f"{split}: {number} example{'s' if number != 1 else ''}")
        for task, numbers in tasks.items():
            lines.append(f"  {task}: {'; '.join(_phrases(numbers))}")
    return "\n".join(lines)


def _phrases(numbers: Mapping[str, Any]) -> list[str]:
    phrases = [f"{numbers['labelled']} labelled"]
    if not numbers["labelled"]:
        return phrases
    if "invalid" in numbers:
        phrases.append(f"{100 * numbers['invalid']:.1f} % of their pixels invalid")
    if "classes" in numbers:
        shares = sorted(numbers["classes"].items(), key=lambda pair: -pair[1])
        phrases.append(", ".join(f"{name} {100 * share:.1f} %" for name, share in shares if share > 0))
    if "depth" in numbers:
        phrases.append("{:.3g} to {:.3g} m, median {:.3g}".format(*(numbers["depth"][i] for i in (0, 2, 1))))
    if "mean_normal" in numbers:
        phrases.append("mean ({:.2f}, {:.2f}, {:.2f})".format(*numbers["mean_normal"]))
        phrases.append(f"{100 * numbers['away']:.1f} % point away from the camera")
    if "positive" in numbers:
        phrases.append(f"{100 * numbers['positive']:.1f} % yes")
    if "categories" in numbers:
        phrases.append(", ".join(f"{name} {100 * share:.1f} %" for name, share in numbers["categories"].items()))
    if "numbers" in numbers:
        phrases.append("{:.4g} to {:.4g}, median {:.4g}".format(*(numbers["numbers"][i] for i in (0, 2, 1))))
    return phrases


def draw_examples(dataset: Any) -> Any:
    """Draws a few training examples with all their targets, a row each; returns a matplotlib figure."""
    from lim_jax import tasks
    from lim_jax.data import pipeline
    from lim_jax.figures import examples

    source, files = dataset.sources["train"], dataset.training_files
    indices = pipeline.evenly_spaced(source, _EXAMPLES)
    chosen = {files[index] if files else f"image {index} of train": source[index] for index in indices}
    return examples.target_panel({name: tasks.create(spec) for name, spec in dataset.specs.items()}, chosen)


if __name__ == "__main__":
    cli.run(main, define_flags)
