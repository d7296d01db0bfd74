"""Use cases of sites."""

from api.records import RecordService
from storage.records import SITES

SERVICE = RecordService(SITES)
