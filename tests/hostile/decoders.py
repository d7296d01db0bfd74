"""What reads bytes of strangers: each decoder with what it may raise, what must hold of its result, and seeds."""

import gzip
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import jwt
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.auth import ALGORITHM, TOKEN_TYPE, Claims, TokenVerifier, TrustedKey
from domain.errors import BodyTooLargeError, BodyUnreadableError, InvalidRequestError, UnauthenticatedError
from domain.key_aliases import KeyAlias, key_aliases
from ingest.bodies.arrow import read_arrow
from ingest.bodies.csv_text import read_csv
from ingest.bodies.encodings import ENCODINGS, UnfoldedLimits, unfold, zstd
from ingest.bodies.native import read_json, read_ndjson
from ingest.bodies.thingsboard import read_gateway, read_thingsboard
from ingest.columns import BodyLimits, RawReadings

LIMITS = BodyLimits(readings_max=200, ignored_keys_max=5, pack_name_characters_max=50)
ALIASES = key_aliases([KeyAlias("U", "voltage_v", 0.001), KeyAlias("time", "ts")])
ARRIVED_MS = 1_795_000_000_000
UNFOLDED = UnfoldedLimits(65_536, 100)
REFUSALS = (BodyUnreadableError, BodyTooLargeError, InvalidRequestError)

ISSUER, AUDIENCE, KEY_ID = "hostile", "bpm", "k"
ISSUED_S, EXPIRES_S = 1_767_225_600, 4_102_444_800
"""A long run outlives tokens of usual lives."""

KEY = Ed25519PrivateKey.from_private_bytes(b"not a secret, 32 bytes of a test")


@dataclass(frozen=True, slots=True)
class Decoder:
    """decode: raises what is in `refuses` or AssertionError, or else is broken."""

    decode: Callable[[bytes], None]
    refuses: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]

    def survives(self, data: bytes) -> None:
        """Raises whatever the decoder raises beside its refusals."""
        try:
            self.decode(data)
        except self.refuses:
            return


def check_readings(read: RawReadings) -> None:
    """Every reading of the body is either read or set aside, once, and the columns are as long as one another."""
    assert read.received <= LIMITS.readings_max
    set_aside = [problem.index for problem in read.problems]
    assert sorted([*read.index.tolist(), *set_aside]) == list(range(read.received))
    assert len(read.index) == len(read.pack_code) == len(read.ts_ms) == read.values.shape[1]
    assert read.pack_code.size == 0 or 0 <= read.pack_code.min() <= read.pack_code.max() < len(
        read.pack_names
    )
    assert len(read.ignored_keys) <= LIMITS.ignored_keys_max
    for index in range(min(read.received, 3)):
        assert isinstance(read.raw_of(index), str)
    for index in set_aside:
        read.raw_of(index).encode()


def of_body(read: Callable[[bytes], RawReadings], *seeds: bytes) -> Decoder:
    return Decoder(lambda data: check_readings(read(data)), REFUSALS, seeds)


def verify(data: bytes) -> None:
    """Verify a token: the bytes as they are, or behind a first byte that is even, claims that we sign."""
    trusted = {KEY_ID: TrustedKey(KEY.public_key(), ISSUER, EXPIRES_S - ISSUED_S)}
    verifier = TokenVerifier(trusted.get, AUDIENCE, 30, lambda: ISSUED_S)
    told = data[1:].decode("utf-8", "surrogateescape")
    if data[:1] and data[0] % 2 == 0:
        header, _, claims = told.partition("\n")
        told = signed(header.encode("utf-8", "surrogateescape"), claims.encode("utf-8", "surrogateescape"))
    claims = verifier.verify(told)
    assert isinstance(claims, Claims)
    assert claims.subject.isprintable()
    assert claims.tenant_name is not None, "another issuer speaks for no operator"
    assert claims.grant is None
    assert 0 < len(claims.tenant_name) <= 200


def signed(header: bytes, claims: bytes) -> str:
    parts = b".".join(map(jwt.utils.base64url_encode, (header, claims)))
    return b".".join((parts, jwt.utils.base64url_encode(KEY.sign(parts)))).decode()


def token_seeds() -> tuple[bytes, ...]:
    header = {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": KEY_ID}
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "s",
        "jti": str(uuid.UUID(int=1)),
        "iat": ISSUED_S,
        "exp": EXPIRES_S,
        "tenant": "t",
        "roles": ["operator"],
        "sites": ["S"],
        "pack": "P",
    }
    asked = [json.dumps(part).encode() for part in (header, claims)]
    return b"\0" + b"\n".join(asked), b"\1" + signed(*asked).encode()


def unfolded(data: bytes) -> None:
    encodings = sorted(ENCODINGS)
    size = len(unfold(data[1:], encodings[data[0] % len(encodings)], UNFOLDED)) if data else 0
    assert size <= UNFOLDED.bytes_max


JSON_SEED = (
    b'[{"pack":"P-1","ts":"2026-01-01T00:00:00Z","voltage_v":357.2,"x":[1]},'
    b'{"pack":"P","time":1795000000000,"U":2e5}]'
)
CSV_SEED = b'pack,ts,voltage_v,U\nP-1,2026-01-01T00:00:00Z,357.2,\n"P""2",1795000000000,,1e3\r\n'
NAMED_SEED = (
    b'{"P-1":[{"ts":1795000000000,"values":{"voltage_v":357.2,"state_of_charge_pct":"80"}},{"U":3000}]}'
)


def arrow_seed(packs: pa.Array, ts: pa.Array) -> bytes:
    values = pa.array([1.0, None, float("nan")], pa.float32())
    table = pa.table({"pack": packs, "ts": ts, "voltage_v": values, "U": pa.array([1, 2, None], pa.int16())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def arrow_seeds() -> tuple[bytes, ...]:
    names, times = ["P-1", "P-2", None], pa.array([ARRIVED_MS] * 3, pa.timestamp("ms", "UTC"))
    return (
        arrow_seed(pa.array(names), times),
        arrow_seed(pa.array(names).dictionary_encode(), times.cast(pa.int64())),
        arrow_seed(pa.array(names, pa.string_view()), times.cast(pa.timestamp("ns"))),
    )


DECODERS = {
    "token": Decoder(verify, (UnauthenticatedError,), token_seeds()),
    "json": of_body(lambda data: read_json(data, LIMITS, ALIASES), JSON_SEED),
    "ndjson": of_body(
        lambda data: read_ndjson(data, LIMITS, ALIASES), JSON_SEED[1:-1].replace(b"},{", b"}\n{")
    ),
    "csv": of_body(lambda data: read_csv(data, LIMITS, ALIASES), CSV_SEED),
    "arrow": of_body(lambda data: read_arrow(data, LIMITS, ALIASES), *arrow_seeds()),
    "thingsboard": of_body(
        lambda data: read_thingsboard(data, "P", ARRIVED_MS, LIMITS, ALIASES), NAMED_SEED[7:-1]
    ),
    "gateway": of_body(lambda data: read_gateway(data, ARRIVED_MS, LIMITS, ALIASES), NAMED_SEED),
    "encodings": Decoder(
        unfolded, REFUSALS, (b"\0" + gzip.compress(JSON_SEED, mtime=0), b"\1" + zstd.compress(JSON_SEED))
    ),
}
