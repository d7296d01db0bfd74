"""Shapes of signing in."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.auth import TOKEN_CHARACTERS_MAX
from api.routing import Name, Strict

ISSUED_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a kind
_PASSWORD_CHARACTERS_MAX = 256
_REFRESH_TOKEN = "wq0Bv3cXk1yTz8m4n6b2Qw7dE5rF9tG1hJ3kL5zX7cV9bN1mA3sD5fG7hJ9k"  # noqa: S105 - an example

Password = Annotated[
    str,
    Field(
        min_length=1,
        max_length=_PASSWORD_CHARACTERS_MAX,
        description="the password",
        examples=["four words are better"],
    ),
]
RefreshToken = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="good once, for another access token and the next refresh token",
        examples=[_REFRESH_TOKEN],
    ),
]


class SignIn(Strict):
    """Who signs in."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"tenant": "acme", "login": "ann@example.com", "password": "four words are better"}]
        }
    )

    tenant: Annotated[
        Name | None, Field(description="name of the tenant; null for an operator of the installation")
    ] = None
    login: Annotated[Name, Field(description="login name or e-mail address")]
    password: Password


class PasswordChange(SignIn):
    """Who signs in, and the password from now on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant": "acme",
                    "login": "ann@example.com",
                    "password": "four words are better",
                    "new_password": "five other words are too",
                }
            ]
        }
    )

    new_password: Annotated[Password, Field(description="the password from now on")]


class Accepted(Strict):
    """An invitation, and the password that the invited user chooses."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"invitation": "q1Zk3c0Yx0l8n2m4v6b8", "password": "four words are better"}]
        }
    )

    invitation: Annotated[
        str, Field(min_length=1, max_length=200, description="the secret of the invitation")
    ]
    password: Password


class Refresh(Strict):
    """A refresh token."""

    refresh_token: RefreshToken


class Exchange(Strict):
    """Another issuer's token (RFC 8693)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"subject_token": "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"}]}
    )

    subject_token: Annotated[
        str, Field(min_length=1, max_length=TOKEN_CHARACTERS_MAX, description="the other issuer's token")
    ]
    subject_token_type: Annotated[
        Literal[
            "urn:ietf:params:oauth:token-type:jwt",
            "urn:ietf:params:oauth:token-type:id_token",
            "urn:ietf:params:oauth:token-type:access_token",
        ],
        Field(description="what kind of token it is; all are verified alike"),
    ] = "urn:ietf:params:oauth:token-type:jwt"  # noqa: S105 - the name of a kind


class AccessToken(BaseModel):
    access_token: Annotated[
        str, Field(description="for `Authorization: Bearer`", examples=["eyJhbGciOiJFZERTQSJ9.e30.c2ln"])
    ]
    token_type: Annotated[str, Field(description="`Bearer`", examples=["Bearer"])]
    expires_in: Annotated[int, Field(description="seconds that the access token lives", examples=[600])]


class Tokens(AccessToken):
    refresh_token: RefreshToken
    refresh_expires_at: Annotated[str, Field(description="until when the refresh token can be used")]


class ExchangedToken(AccessToken):
    issued_token_type: Annotated[
        str, Field(description="what kind of token it is", examples=[ISSUED_TOKEN_TYPE])
    ]


class JsonWebKey(BaseModel):
    kty: Annotated[str, Field(description="kind of key: `OKP`", examples=["OKP"])]
    crv: Annotated[str, Field(description="curve: `Ed25519`", examples=["Ed25519"])]
    x: Annotated[
        str, Field(description="the public key", examples=["11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"])
    ]
    kid: Annotated[
        str,
        Field(
            description="id of the key, its thumbprint (RFC 7638)",
            examples=["kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"],
        ),
    ]
    use: Annotated[str, Field(description="`sig`", examples=["sig"])]
    alg: Annotated[str, Field(description="`EdDSA`", examples=["EdDSA"])]


class KeySet(BaseModel):
    keys: Annotated[list[JsonWebKey], Field(description="the newest first")]
