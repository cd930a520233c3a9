"""Settings: what there is (`table`), what a value may be (`values`), the files (`files`), and which value counts
(`layers`)."""

from toolchat.settings.files import PROJECT_NAME, Config, Project, read_config, read_project
from toolchat.settings.folders import APP, NO_HOME, cache_folder, config_file, state_folder
from toolchat.settings.layers import Origin, Resolved, UnacceptedError, parsed, resolve, trace, unaccepted
from toolchat.settings.table import PER_CHAT, SETTINGS, Setting, Settings, variable
from toolchat.settings.values import DTYPES, NO_SERVER, NO_SYSTEM, user_path

__all__ = [
    "APP",
    "DTYPES",
    "NO_HOME",
    "NO_SERVER",
    "NO_SYSTEM",
    "PER_CHAT",
    "PROJECT_NAME",
    "SETTINGS",
    "Config",
    "Origin",
    "Project",
    "Resolved",
    "Setting",
    "Settings",
    "UnacceptedError",
    "cache_folder",
    "config_file",
    "parsed",
    "read_config",
    "read_project",
    "resolve",
    "state_folder",
    "trace",
    "unaccepted",
    "user_path",
    "variable",
]
