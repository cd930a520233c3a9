"""Wraps the Hugging Face hub's library, which may be missing: limits of time, ranges of files, progress, failures.

Whatever fails in it, or on the disk, is told in one line.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from toolchat.images.image import size_text
from toolchat.models import hub_cache, parts
from toolchat.models.parts import BusyError, NoRangesError, Open, SilentError, TransientError
from toolchat.wire.errors import EngineError

_WINDOW = 15.0
"""Seconds that the rate is an average of: connections stall for a second or two without meaning it."""
_SOONEST = 1.0
"""Seconds before a rate is worth saying."""
_TICK = 0.2
"""Seconds between two calls of what is told of progress."""

T = TypeVar("T")


class Pace:
    """The rate of one download, from the numbers of bytes that were there at times."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def text(self, there: int) -> str:
        """ ", 41 MB/s, 4 min left" with `there` bytes here now; empty while nothing can be said."""
        now = self._clock()
        if self._seen and there < self._seen[-1][1]:
            self._seen.clear()  # a damaged part was thrown away
        self._seen.append((now, there))
        while now - self._seen[0][0] > _WINDOW and now - self._seen[1][0] >= _SOONEST:
            self._seen.popleft()
        began, first = self._seen[0]
        if now - began < _SOONEST:
            return ""
        rate = (there - first) / (now - began)
        if rate < 1:
            return ", waiting for the hub" if there < self._total else ""
        left = f", {_duration((self._total - there) / rate)} left" if there < self._total else ""
        return f", {size_text(int(rate))}/s{left}"


def amounts(there: int, total: int) -> str:
    """ "3.2 of 14.5 GB": both in the unit of the whole, so that the width does not change while it grows."""
    unit = size_text(total).rpartition(" ")[2]
    scale, digits = {"bytes": (1, 0), "kB": (10**3, 0), "MB": (10**6, 1), "GB": (10**9, 1)}[unit]
    return f"{there / scale:.{digits}f} of {total / scale:.{digits}f} {unit}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        from toolchat.models.hardware import INSTALL

        raise EngineError(f"models of the Hugging Face hub need its library; {INSTALL}") from None
    return huggingface_hub


def silence_bars() -> None:
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()


def offline() -> str:
    """Which variable forbids asking the hub; empty where none does. Follows what the hub's library has read, too."""
    from toolchat.offline import hub_offline

    if variable := hub_offline():
        return variable
    try:
        from huggingface_hub.constants import HF_HUB_OFFLINE
    except ImportError:
        return ""
    return "HF_HUB_OFFLINE" if HF_HUB_OFFLINE else ""


def endpoint() -> str:
    """The hub's address, by HF_ENDPOINT."""
    try:
        from huggingface_hub import constants
    except ImportError:
        return "https://huggingface.co"
    return str(constants.ENDPOINT)


def within(
    work: Callable[[], T],
    tick: Callable[[int], None],
    there: Callable[[], int] = lambda: 0,
    seconds: float | None = None,
) -> T:
    """What `work` returns or raises. Raises SilentError once `there`, a number of bytes, has not grown for `seconds`.

    `tick` is called with that number some times a second; what it raises ends the waiting. The library has no limit of
    time for some of its requests, repeats others for minutes, and its threads would be waited for after Ctrl-C: so it
    works in a thread that is given up.
    """
    result: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failures.append(error)

    limit = parts.SILENT_SECONDS if seconds is None else seconds
    thread = threading.Thread(target=run, name="ask-hub", daemon=True)
    thread.start()
    most, grew = there(), time.monotonic()
    while thread.is_alive():
        tick(count := there())
        if count > most:
            most, grew = count, time.monotonic()
        elif time.monotonic() - grew > limit:
            raise SilentError(limit)
        thread.join(_TICK)
    if failures:
        raise failures[0]
    return result[0]


def ranges(name: str, commit: str, file: str) -> Open:
    """How to get bytes of a file of the hub, with the library's own client: its proxies, certificates and token."""
    hub = library()
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    url, headers = hub.hf_hub_url(name, file, revision=commit), build_hf_headers()

    @contextmanager
    def open_range(start: int, end: int) -> Iterator[Iterator[bytes]]:
        asked = {**headers, "Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        try:
            client = hub.get_session()
            timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
            with client.stream("GET", url, headers=asked, timeout=timeout) as answer:
                if answer.status_code == 429:
                    raise BusyError(f"the hub answers {answer.status_code}")
                if answer.status_code in (408, 500, 502, 503, 504):
                    raise TransientError(f"the hub answers {answer.status_code}")
                hf_raise_for_status(answer)
                if answer.status_code != 206:
                    raise NoRangesError
                yield answer.iter_raw()
        except OSError:
            raise  # the disk's: the client's errors are none
        except Exception as error:
            if _is_of_transport(error):
                raise TransientError(reason(error)) from error
            raise

    return open_range


def _is_of_transport(error: Exception) -> bool:
    # httpx, or the successor that the installed version of the hub's library uses.
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turn what the hub's library and the disk raise into an EngineError of one line."""
    library()
    try:
        yield
    except EngineError:
        raise
    except Exception as error:  # whatever HTTP library the hub uses in this version
        raise _failure(name, error) from None


def _failure(name: str, error: Exception) -> EngineError:
    root = hub_cache.cache_root() or Path()
    number = _disk_errno(error)
    if number in _FULL:
        free = free_bytes(root)
        left = f", {size_text(free)} are free" if free is not None else ""
        return EngineError(
            f"{name}: the disk is full ({os.strerror(number)}): {with_home(root)}{left}; make room, or set HF_HOME "
            "to a folder on another disk, and go on with the same command: what is fetched already is kept"
        )
    if number is not None:
        return EngineError(
            f"{name}: {with_home(root)} cannot be written to ({os.strerror(number)}); set HF_HOME to a folder that can"
        )
    causes = list(_causes(error))
    # The library wraps what went wrong with the network into "not found in the cache".
    for cause in causes:
        if line := _refusal(name, cause):
            return EngineError(f"{name}: {line}")
    for cause in causes:
        if line := _no_answer(cause):
            return EngineError(f"{hub_cache.what_is_here(name)}, and {line}")
    return EngineError(
        f"{hub_cache.what_is_here(name)}, and the Hugging Face hub cannot be asked for it "
        f"({reason(error)}); check the network and the name"
    )


def _refusal(name: str, error: BaseException) -> str:
    """What the hub itself answered, and what to do; empty where `error` is no answer of the hub."""
    errors = library().errors
    page = f"{endpoint()}/{name}"
    match error:
        case errors.GatedRepoError():
            then = (
                "with the account that your token belongs to (hf auth whoami)"
                if _token_source()
                else "then log in with `hf auth login`"
            )
            return f"its owner wants its terms accepted first, at https://huggingface.co/{name}; {then}"
        case errors.RevisionNotFoundError():
            return f"the repository has no such revision (--revision); {page}/tree/main lists its branches and tags"
        case errors.RepositoryNotFoundError():
            login = "your token may not see it" if _token_source() else "log in with `hf auth login`"
            return f"there is no such model on the Hugging Face hub, or it is private; check the name, or {login}"
        case BusyError():
            return _too_many("")
        case TransientError() if not isinstance(error, SilentError):
            return (
                f"the connection to the Hugging Face hub broke off ({error}); check the network, and go on with "
                "the same command: what is fetched already is kept"
            )
        case errors.HfHubHTTPError():
            return _by_status(error.response.status_code, error.response.headers, page)
    return ""


def _by_status(status: int, headers: Mapping[str, str], page: str) -> str:
    match status:
        case 401:
            source = _token_source()
            drop = "unset HF_TOKEN" if source == "HF_TOKEN" else "leave without with `hf auth logout`"
            return (
                f"the Hugging Face hub does not take your token ({source or 'none was sent'}): it is wrong or expired; "
                f"make one at https://huggingface.co/settings/tokens and give it to `hf auth login`, or {drop}"
            )
        case 403:
            return (
                f"the Hugging Face hub forbids it (403): open {page}, accept its terms if it has some, and see at "
                "https://huggingface.co/settings/tokens that your token may read it"
            )
        case 407:
            return "the proxy wants a login (407); write it into HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT"
        case 429:
            return _too_many(headers.get("Retry-After", ""))
        case _ if status >= 500:
            return (
                f"the Hugging Face hub is out of order ({status}); try again later, with the same command "
                "(https://status.huggingface.co)"
            )
    return ""


def _too_many(after: str) -> str:
    when = f"in {after} s" if after.isdecimal() else "in five minutes"
    login = "" if _token_source() else "; who is logged in may ask more: `hf auth login`"
    return f"the Hugging Face hub has had too many requests from here (429); try again {when}{login}"


def _no_answer(error: BaseException) -> str:
    """Why the hub did not answer, and what to do; empty where that is not known."""
    host = endpoint()
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, SilentError) or "TimeoutException" in kinds:
        silent = f" for {error.seconds:.0f} s" if isinstance(error, SilentError) else " in time"
        return (
            f"{host} does not answer{silent}; check the network and the proxy (HTTPS_PROXY), or try again later: "
            "what is fetched already is kept"
        )
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return (
            f"the certificate of {host} is not trusted; log in to this network in a browser if it asks for it, or set "
            "SSL_CERT_FILE to the certificates of your proxy"
        )
    if kinds & {"JSONDecodeError", "FileMetadataError"}:
        return (
            f"what answers at {host} is not the hub, but another page; log in to this network in a browser, "
            "and check HF_ENDPOINT and the proxy (HTTPS_PROXY)"
        )
    if "OfflineModeIsEnabled" in kinds:
        return "HF_HUB_OFFLINE forbids asking the Hugging Face hub; unset it once"
    if kinds & {"ConnectError", "NetworkError", "ConnectionError"}:
        return (
            f"there is no connection to {host} ({_first_line(error)}); check the network and the proxy (HTTPS_PROXY); "
            "`toolchat models list` shows what is here"
        )
    return ""


def _token_source() -> str:
    """Where the token that is sent comes from, for people; empty where none is. Never the token."""
    from huggingface_hub import constants, get_token

    if not get_token():
        return ""
    named = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), "")
    return named or with_home(Path(constants.HF_TOKEN_PATH))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and what led to it; other libraries wrap what they meet."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _disk_errno(error: BaseException) -> int | None:
    """The number of the disk's error among what led to `error`."""
    for cause in _causes(error):
        # A firewall refuses a connection with EPERM, too: only files have a name.
        if isinstance(cause, OSError) and (cause.errno in _FULL or (cause.errno in _CLOSED and cause.filename)):
            return cause.errno
        if os.strerror(errno.ENOSPC) in str(cause):
            return errno.ENOSPC  # hf_xet's errors are text
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"


def free_bytes(folder: Path) -> int | None:
    for place in (folder, *folder.parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return None


def with_home(path: Path) -> str:
    """A path as people write it, with ~ for their home."""
    with suppress(ValueError, RuntimeError):
        return f"~/{path.relative_to(Path.home())}"
    return str(path)
