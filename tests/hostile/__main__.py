"""Many hostile inputs: `python -m tests.hostile json --inputs 1000000` and so on."""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

INSTRUMENTED = ["ingest", "domain", "jwt", "api.auth"]
"""What is traced, so that inputs which reach new code are kept and changed further."""

INPUT_BYTES_MAX = 4096
INPUT_S_MAX = 20
MEMORY_MB_MAX = 4096
DECODERS = ("token", "json", "ndjson", "csv", "arrow", "thingsboard", "gateway", "encodings")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile",
        description="Gives a decoder inputs that Atheris makes, and more of those that reach new code. It may refuse "
        "them by the errors that it names; whatever else it raises ends the run, and the input is kept. Exit codes: "
        "0 all survived, 2 usage, else one didn't.",
    )
    parser.add_argument("decoder", choices=DECODERS)
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N", help="(default 100000)")
    parser.add_argument("--seed", type=int, default=1, help="the same makes the same inputs (default 1)")
    parser.add_argument(
        "--kept", type=Path, default=Path("build"), help="folder of inputs that broke something"
    )
    given = parser.parse_args()
    if given.inputs < 1:
        parser.error("--inputs is at least 1")
    return given


def main() -> NoReturn:
    given = arguments()
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        decoder = importlib.import_module("tests.hostile.decoders").DECODERS[given.decoder]
    given.kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bpm-hostile-") as folder:
        for number, seed in enumerate(decoder.seeds):
            (Path(folder) / str(number)).write_bytes(seed)
        options = {
            "atheris_runs": given.inputs,
            "seed": given.seed,
            "max_len": INPUT_BYTES_MAX,
            "timeout": INPUT_S_MAX,
            "rss_limit_mb": MEMORY_MB_MAX,
            "artifact_prefix": f"{given.kept}/hostile-{given.decoder}-",
        }
        atheris.Setup(
            [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), folder],
            decoder.survives,
            enable_python_coverage=True,
        )
        atheris.Fuzz()
    sys.exit(0)


if __name__ == "__main__":
    main()
