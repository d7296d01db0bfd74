"""A broker for development in the foreground: `make kafka`."""

import argparse
import signal
import sys
from pathlib import Path

from tests.kafka import jars
from tests.kafka.broker import BrokerStuckError, Cluster


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kafka",
        description="Starts one Apache Kafka broker on loopback until it is interrupted. It is for development: "
        "one copy of the data, no encryption, no accounts. Exit codes: 0 stopped, 1 it did not start or ended "
        "by itself, 2 usage.",
    )
    parser.add_argument("--port", type=int, default=9092, help="for clients (default 9092)")
    parser.add_argument(
        "--data",
        type=Path,
        default=jars.ROOT / "var" / "kafka",
        help="folder of its data (default var/kafka)",
    )
    return parser.parse_args()


def main() -> int:
    given = arguments()
    if (missing := jars.missing()) is not None:
        print(f"The broker needs {missing}.", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = Cluster(given.data.resolve(), ports=[given.port], long_lived=True)
    print(f"Starting Apache Kafka for development, data in {given.data}.")
    try:
        with cluster:
            print(f"Ready at {cluster.bootstrap}. Ctrl-C stops it.", flush=True)
            ended = cluster.brokers[0].process
            assert ended is not None
            ended.wait()
            print(f"The broker ended by itself. Its log: {cluster.brokers[0].log}", file=sys.stderr)
            return 1
    except BrokerStuckError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.")
        return 0


if __name__ == "__main__":
    sys.exit(main())
