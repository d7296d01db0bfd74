"""One tree of errors. The first line of a class's docstring is its title; instances carry the facts."""

from typing import Any


class BpmError(Exception):
    """The engine refused or failed."""

    code = "error"

    def __init__(
        self,
        detail: str,
        *,
        field: str | None = None,
        limit: str | float | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.limit = limit
        self.facts = facts

    @property
    def title(self) -> str:
        return (type(self).__doc__ or "").splitlines()[0].rstrip(".")


class BodyUnreadableError(BpmError):
    """The body can't be read as what it claims to be."""

    code = "body_unreadable"


class BodyTooLargeError(BpmError):
    """The body is over a limit."""

    code = "body_too_large"


class RequestTimeoutError(BpmError):
    """The request did not come in time."""

    code = "request_timeout"


class UnsupportedFormatError(BpmError):
    """The format of the body, or its encoding, is not one of those accepted."""

    code = "unsupported_format"


class NotAcceptableError(BpmError):
    """None of the formats asked for can be given."""

    code = "not_acceptable"


class InvalidRequestError(BpmError):
    """A parameter or a field is wrong."""

    code = "invalid_request"


class UnauthenticatedError(BpmError):
    """The request carries no valid credential."""

    code = "unauthenticated"


class CredentialChangedError(BpmError):
    """What the credential may do has changed since the stream began."""

    code = "credential_changed"


class ForbiddenError(BpmError):
    """The credential does not allow this."""

    code = "forbidden"


class TenantSuspendedError(ForbiddenError):
    """The tenant is suspended: nothing is answered or taken in for it."""

    code = "tenant_suspended"


class TenantDeletingError(ForbiddenError):
    """The tenant is being deleted: nothing is answered or taken in for it."""

    code = "tenant_deleting"


class NotFoundError(BpmError):
    """There is no such thing."""

    code = "not_found"


class ConflictError(BpmError):
    """The request contradicts what is stored."""

    code = "conflict"


class PackQuotaError(ConflictError):
    """The tenant's quota of packs is used up."""

    code = "quota_exceeded"


class InFlightError(ConflictError):
    """The same request is being worked on already."""

    code = "in_flight"


class ArchivedError(ConflictError):
    """The day is archived: its raw readings are neither changed nor shown any more."""

    code = "archived"


class KeyReusedError(BpmError):
    """The idempotency key was used with another body."""

    code = "idempotency_key_reused"


class PreconditionRequiredError(BpmError):
    """An edit needs If-Match with the version that it is based on."""

    code = "precondition_required"


class PreconditionFailedError(BpmError):
    """The record has changed since the version that the edit is based on."""

    code = "precondition_failed"


class BusyError(BpmError):
    """A queue is full; try again after `retry_after_s`."""

    code = "busy"


class SignInBlockedError(BpmError):
    """Too many sign-ins failed for this login; try again after `retry_after_s`."""

    code = "sign_in_blocked"


class RateLimitedError(BpmError):
    """Too many requests or readings came of late; try again after `retry_after_s`."""

    code = "rate_limited"


class QuotaExceededError(BusyError):
    """A quota of the tenant is used up; try again after `retry_after_s`."""

    code = "quota_exceeded"


class TenantElsewhereError(BpmError):
    """The tenant is on another cell: ask there."""

    code = "tenant_elsewhere"


class MoveRefusedError(BpmError):
    """The tenant can't be moved as things are."""

    code = "move_refused"


class MoveFailedError(BpmError):
    """The move was not finished; run the command again."""

    code = "move_failed"


class StateOutdatedError(BpmError):
    """Packs arrived from another cell, or were erased: what is remembered is loaded again."""

    code = "state_outdated"


class UnavailableError(BpmError):
    """The engine can't accept this now; try again after `retry_after_s`."""

    code = "unavailable"


class TenantMovingError(UnavailableError):
    """The tenant is on its way to another cell; try again after `retry_after_s`."""

    code = "tenant_moving"


class DiskLowError(BpmError):
    """The disk is nearly full: no readings are taken in until there is room."""

    code = "disk_low"


class ExportRefusedError(BpmError):
    """The export can't be made there."""

    code = "export_refused"


class ExportFailedError(BpmError):
    """The export could not be made."""

    code = "export_failed"


class EraseFailedError(BpmError):
    """The tenant is not erased yet; run the command again."""

    code = "erase_failed"


class BackupRefusedError(BpmError):
    """The backup can't be made there, or can't be used."""

    code = "backup_refused"


class BackupFailedError(BpmError):
    """The backup could not be made."""

    code = "backup_failed"


class DatabaseRefusedError(BpmError):
    """The database can't be started or used as it is."""

    code = "database_refused"


class KafkaRefusedError(BpmError):
    """The Kafka cluster or its topics can't be used as they are."""

    code = "kafka_refused"


class KafkaUnreachableError(BpmError):
    """The Kafka cluster can't be reached."""

    code = "kafka_unreachable"


class SettingsRefusedError(BpmError):
    """The settings contradict each other or the environment."""

    code = "settings_refused"


class SettingUnreadableError(SettingsRefusedError):
    """A setting can't be read."""


class DecodeError(BpmError):
    """A recording or a description file can't be decoded."""

    code = "decode_error"


class MessageUnreadableError(BpmError):
    """A message of a topic is not what its topic holds."""

    code = "message_unreadable"


class MessageMisdirectedError(BpmError):
    """A message of a topic is for a tenant that this database doesn't have; a restored one may be older than it."""

    code = "message_misdirected"


class PositionLostError(BpmError):
    """A log doesn't have the messages that come next."""

    code = "position_lost"


class FencedError(BpmError):
    """Another process has become the writer of this partition."""

    code = "fenced"


class PartitionRevokedError(BpmError):
    """The partition is to be let go of; its messages are read again by whoever gets it."""

    code = "partition_revoked"


class RegistryChangedError(BpmError):
    """Packs or tenures changed while readings were on their way; they are judged again."""

    code = "registry_changed"
