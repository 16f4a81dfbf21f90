"""How long `recsession ope --log open-bandit` takes on logs of the full dataset's size; printed and never asserted.

The published sample of 10,000 rounds a policy is written so often behind one another that it has as many rows as asked
for, with all of its columns. Set `RECSESSION_DATA` to the folder that holds open_bandit/. Estimates of it are doubted,
as they should be: its sessions are repeated.
"""

from __future__ import annotations

import argparse
import gzip
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POLICIES = ("random", "bts")


def write_again(source: Path, out: Path, rows: int) -> None:
    """Write a CSV whose rows are those of a compressed one, repeated."""
    with gzip.open(source) as stream:
        header, *lines = stream.read().splitlines(keepends=True)
    out.parent.mkdir(parents=True)
    with out.open("wb") as stream:
        stream.write(header)
        for start in range(0, rows, len(lines)):
            stream.writelines(lines[: min(len(lines), rows - start)])


def main() -> None:
    """Print seconds, those of the processors, and the peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each policy's log (default: %(default)s)")
    parser.add_argument("--estimators", nargs="+", default=[], help="of the command (default: all)")
    parser.add_argument("--folder", type=Path, help="where the logs are made, and removed (default: a temporary one)")
    arguments = parser.parse_args()
    sample = Path(os.environ.get("RECSESSION_DATA", "")) / "open_bandit"
    if not sample.is_dir():
        sys.exit("RECSESSION_DATA has no open_bandit; set it to the folder that holds it")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for policy in POLICIES:
            write_again(sample / policy / "all/all.csv.gz", Path(folder, policy, "all/all.csv"), arguments.rows)
            shutil.copy(sample / policy / "all/item_context.csv", Path(folder, policy, "all"))
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.csv"))
        words = ["ope", "--log", "open-bandit", "--path", folder]
        words += ["--estimators", *arguments.estimators] if arguments.estimators else []
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "recsession", *words], check=True, capture_output=True, text=True)
        taken = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(done.stdout)
    print("| rows of each log | bytes of both | s | s of processors | peak MB |\n|---|---|---|---|---|")
    processors = used.ru_utime + used.ru_stime
    print(f"| {arguments.rows:,} | {size:,} | {taken:.1f} | {processors:.1f} | {used.ru_maxrss / 1024:,.0f} |")


if __name__ == "__main__":
    main()
