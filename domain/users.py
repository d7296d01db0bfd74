"""Users of a tenant: their states, their logins, and what a credential calls them."""

import unicodedata
from enum import StrEnum
from typing import Final
from uuid import UUID

from domain.errors import InvalidRequestError

LOGIN_CHARACTERS_MAX: Final = 200
_TELLING_CHARACTERS: Final = 4
"""A shorter login may be a part of a password by chance."""


class UserState(StrEnum):
    """What has become of a user."""

    INVITED = "invited"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


def login_of(text: str) -> str:
    """The login as it is kept, the same for all ways to write it.

    Raises InvalidRequestError for what is empty, too long, or holds spaces or characters that can't be seen.

    >>> login_of("Ann.Muster@Example.com")
    'ann.muster@example.com'
    """
    login = unicodedata.normalize("NFKC", text).casefold()
    if not (0 < len(login) <= LOGIN_CHARACTERS_MAX and login.isprintable()) or any(map(str.isspace, login)):
        raise InvalidRequestError(
            "a login is a name or an e-mail address, without spaces",
            field="login",
            limit=LOGIN_CHARACTERS_MAX,
        )
    return login


def subject_of(user_id: UUID) -> str:
    """What credentials and the audit log call a user: it says nothing of the person, and outlives the record."""
    return f"user:{user_id}"


def user_of(subject: str) -> UUID | None:
    """The user whom a subject names; None for another one."""
    kind, _, text = subject.partition(":")
    try:
        return UUID(text) if kind == "user" else None
    except ValueError:
        return None


def password_of(text: str) -> str:
    """The password as it is hashed, the same for all ways to type it."""
    return unicodedata.normalize("NFKC", text)


def require_strength(password: str, login: str, characters_min: int) -> None:
    """Raises InvalidRequestError for a password that is short, or easily guessed."""
    if len(password) < characters_min:
        raise InvalidRequestError(
            f"a password has at least {characters_min} characters", field="password", limit=characters_min
        )
    if (len(login) >= _TELLING_CHARACTERS and login in password.casefold()) or len(
        set(password)
    ) <= characters_min // 3:
        raise InvalidRequestError("a password isn't made of the login or of few characters", field="password")
