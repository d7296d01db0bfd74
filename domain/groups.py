"""Groups of packs: all, those at a site, those of a model, and those that a tenant keeps under a name."""

from dataclasses import dataclass
from enum import StrEnum

from domain.errors import InvalidRequestError


class GroupKind(StrEnum):
    ALL = "all"
    SITE = "site"
    MODEL = "model"
    SAVED = "saved"


@dataclass(frozen=True, slots=True)
class Group:
    """What packs are meant; `name` is that of the site, the model or the saved group, and empty for all."""

    kind: GroupKind
    name: str = ""


def group_of(text: str) -> Group:
    """The group that a text such as `site:Depot` names. Raises InvalidRequestError.

    >>> group_of("all"), group_of("saved:night: shift")
    (Group(kind=<GroupKind.ALL: 'all'>, name=''), Group(kind=<GroupKind.SAVED: 'saved'>, name='night: shift'))
    """
    kind, _, name = text.partition(":")
    if kind not in set(GroupKind) or bool(name) == (kind == GroupKind.ALL) or text == "all:":
        raise InvalidRequestError("groups are all, site:NAME, model:NAME and saved:NAME", field="group")
    return Group(GroupKind(kind), name)
