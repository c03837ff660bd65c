"""Plans of sweeps, as plain Python data: a module each, with `RUNS`, `{name: {key of the configuration: value}}`.

A plan of your own is a file anywhere that has `RUNS`, too; `python scripts/sweep.py --plan=PATH`. The runs of a row of
the tables are those that differ in `seed` alone. A run may have a `label`, what its row is called in the tables. In
texts `{root}` stands for the folder of the sweep, and `{seed}` for the seed of the run. `PAPER`, where a plan has it,
names the table of `sweeps/paper.json` that its results are put beside.
"""
