"""What it costs to read the header of a GGUF file with a large vocabulary, in processor time.

    python benchmarks/loading.py [--file PATH] [--record]

Without a file, one is written with as many tokens and merges as Qwen2.5 has. Each figure is the least of three.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks import results

TOKENS, MERGES = 151_936, 151_387
ABOUT = f"""
A GGUF file of the user's own tells what it is in its header, behind a vocabulary of {TOKENS:,} tokens and {MERGES:,}
merges. *Package* is `gguf.GGUFReader`, which makes an object of each.
"""


def written(path: Path) -> Path:
    import gguf

    writer: Any = gguf.GGUFWriter(path, "qwen2")
    writer.add_context_length(32768)
    writer.add_token_list([f"token{number}" for number in range(TOKENS)])
    writer.add_token_types([1] * TOKENS)
    writer.add_token_merges([f"to ken{number}" for number in range(MERGES)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def cpu_s(work: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(3):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--file", type=Path, help="a GGUF file of your own")
    arguments.add_argument("--record", action="store_true", help="for docs/measured.md")
    given = arguments.parse_args()
    import gguf

    from sluicegate.models.embedded.header import ModelFile

    with tempfile.TemporaryDirectory() as folder:
        path = given.file or written(Path(folder) / "header.gguf")
        ours = cpu_s(lambda: ModelFile.read(path))
        package = cpu_s(lambda: gguf.GGUFReader(path))
    table = results.table(
        ("header of a GGUF file", "processor time"),
        ("read by its lengths", f"{ours * 1000:.0f} ms"),
        ("package", f"{package:.1f} s"),
    )
    print(table)
    if given.record:
        results.record("loading", "Loading a model file", ABOUT, [table])


if __name__ == "__main__":
    main()
