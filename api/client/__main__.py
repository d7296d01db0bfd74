"""`python -m api.client FOLDER` writes the Python client there, as `make client` does into build/client."""

import sys
from pathlib import Path

from api.client.generate import PACKAGE, generate

_USAGE_EXIT = 2


def main(arguments: list[str]) -> int:
    """Generate the client into the folder named; 0 when it is there."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m api.client FOLDER\n")
        return _USAGE_EXIT
    folder = generate(Path(arguments[0]))
    sys.stdout.write(f"{PACKAGE} is in {folder}: pip install {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
