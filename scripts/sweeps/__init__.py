"""What the four scripts of a sweep share: `sweep.py` trains it, `tables.py`, `figures.py` and `report.py` show it.

A root holds

    sweep.json           the plan: what each run changes, and its command
    RUN/                 the workdir of each run
    jobs/RUN.json, .log  what became of its process, and what it wrote
    tables/, figures/, report.html
"""
