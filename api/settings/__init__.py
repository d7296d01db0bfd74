"""Settings, each from the environment variable BPM_ and its name; every limit has its unit in its name.

An area is a module, and checks its own; `composed` joins them.
"""

from api.settings.composed import Settings
from api.settings.delivering import TlsMode
from api.settings.identity import DEVELOPMENT_ISSUER
from api.settings.installation import Environment

__all__ = ["DEVELOPMENT_ISSUER", "Environment", "Settings", "TlsMode"]
