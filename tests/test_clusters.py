"""The Slurm scripts of docs/clusters.md, run as they stand there with stand-ins for Slurm."""

import os
import pathlib
import re
import subprocess

import pytest

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "clusters.md"
SCRIPTS = dict(re.findall(r'```bash title="(\w+\.sh)"\n(.*?)```', PAGE.read_text(), re.DOTALL))
STAND_INS = {
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
    "lim-jax": 'echo "$@" >> "$RUNS/started"; exit "$CODE"',
    "scontrol": 'echo "$@" >> "$RUNS/put_back"',
}
JOBS = {"one_node.sh": "7", "two_nodes.sh": "7", "seeds.sh": "8_3"}


def test_all_scripts_are_found():
    assert SCRIPTS.keys() == JOBS.keys()


@pytest.mark.parametrize(("code", "is_put_back"), [(0, False), (138, True), (143, True), (2, False), (137, False)])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_puts_back_what_asks_for_it(name, code, is_put_back, tmp_path):
    for command, body in STAND_INS.items():
        (tmp_path / command).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / command).chmod(0o755)
    (tmp_path / name).write_text(SCRIPTS[name])
    slurm = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "3"}
    place = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RUNS": str(tmp_path), "SOURCE": "/data", "CODE": str(code)}
    assert subprocess.run(["bash", str(tmp_path / name)], env=slurm | place).returncode == code
    started = (tmp_path / "started").read_text()
    assert started.startswith("train ") and f"--workdir={tmp_path}/nyu" in started
    assert (tmp_path / "put_back").exists() == is_put_back
    if is_put_back:
        assert (tmp_path / "put_back").read_text() == f"requeue {JOBS[name]}\n"
