"""Which environment variables tools may see: a basic set, and those that the tools file names. Nothing else passes,
so that keys and tokens of toolchat's own never reach a tool by its environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MARK = "_TOOL_HOST"
"""Holds one host's own random value: it is how what a dead host left behind is found."""

PYTHON = ("-P", "-X", "pycache_prefix=")
"""Flags of the interpreters that tools run in: the folder the user is in shadows no module, and bytecode of installed
modules lies beside them, whatever PYTHONPYCACHEPREFIX says, which is for the programs that tools start."""

# fmt: off
_BASIC = frozenset((
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "COLORTERM", "TMPDIR", "TMP", "TEMP",
    "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS",
    "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
))
# fmt: on
_BASIC_PREFIXES = ("LC_", "XDG_", "PYTHON")
_OWN_PREFIX = "TOOLCHAT_"


def basic_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What every tool sees of `environment`."""
    return {name: value for name, value in environment.items() if name in _BASIC or name.startswith(_BASIC_PREFIXES)}


def named_environment(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """What a tools file asks for by name. toolchat's own variables stay out even then."""
    return {name: environment[name] for name in names if name in environment and not name.startswith(_OWN_PREFIX)}
