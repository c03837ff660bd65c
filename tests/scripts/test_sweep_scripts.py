"""The four scripts on a sweep of tiny runs, one of which fails."""

import os
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PLAN = """
SPARSE = {"sparsity.strength": 3e-3, "num_epochs": 1}
RUNS = {
    "depth": {"tasks": ("depth",), **SPARSE},
    "fails": {"tasks": ("depth",), **SPARSE, "init_from": "nowhere"},
    "normals": {"tasks": ("normals",), **SPARSE},
}
"""


@pytest.mark.parametrize(
    ("number", "said"),
    [("EACCES", "error: [Errno 13] Permission denied: 'DIR/x'"), ("ENOSPC", "error: the disk is full")],
)
def test_a_file_that_cannot_be_written_is_one_line(number, said):
    code = f"""
        import errno, os, sys
        sys.path.insert(0, {str(ROOT / "scripts")!r})
        from sweeps import command
        def main():
            raise OSError(errno.{number}, os.strerror(errno.{number}), "DIR/x")
        command.run(main)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stderr.startswith(said) and ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_from_a_plan_to_a_page(data_dir, tmp_path):
    pytest.importorskip("submitit")
    (tmp_path / "plan.py").write_text(PLAN)
    root = tmp_path / "root"

    def script(name, *flags):
        command = [sys.executable, f"scripts/{name}.py", f"--root={root}", *flags]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    begin = [f"--plan={tmp_path / 'plan.py'}", f"--config=tests/training/tiny.py:{data_dir}", "--jobs=2"]
    assert script("sweep", *begin, "--dry_run").stdout.count("python -m lim_jax.main") == 3 and not root.exists()
    first = script("sweep", *begin)
    assert first.returncode == 1, first.stdout + first.stderr
    assert "3 runs: 2 done, 0 running, 1 failed, 0 waiting" in first.stdout
    line = "error: config.init_from is 'nowhere', which holds no run: give the workdir of one"
    assert f"failed: fails: {line}" in first.stdout
    trained = {path: path.stat().st_mtime_ns for path in root.glob("*/results.json")}
    again = script("sweep")
    assert again.returncode == 1 and "2 done" in again.stdout
    assert trained == {path: path.stat().st_mtime_ns for path in root.glob("*/results.json")}, "nothing runs twice"

    printed = script("tables", "--costs").stdout
    assert f"- fails: failed ({line})" in printed and "latency, ms" in printed
    assert script("figures").returncode == 0
    names = {path.stem for path in (root / "figures").glob("*.png")}
    setting = "lambda_3e-3"
    assert names == {"performance", "sparsity", "epochs", "latency", f"layers_{setting}", f"overlap_{setting}"}
    written = script("report")
    assert written.returncode == 0, written.stderr
    page = (root / "report.html").read_text()
    assert page.count("<img") == len(names) + 1, "and the predictions of a run"
    assert not re.search(r'(src|href)="(?!data:)', page) and line.replace("'", "&#x27;") in page
    assert "jax 0." in page and "--config.init_from=nowhere" in page
