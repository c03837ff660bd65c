"""Plans of sweeps, as plain Python data: a module each, with `RUNS`, `{name: {key of the configuration: value}}`.

A plan of your own is a file anywhere that has `RUNS`, too; `python scripts/sweep.py --plan=PATH`. The runs of a row of
the tables are those that differ in `seed` alone. `PAPER`, where a plan has it, names the table of
`sweeps/paper.json` that its results are put beside.
"""
