"""How many functions that people already have become tools, and what becomes of their calls and results.

Functions of the standard library and of packages, none of which was written for a model, are given as they are: without
a tools file that helps. Counted are those that load, that give with right arguments what a plain call gives, that
refuse a wrong argument before they run, whose result reaches the model as text, and that have a description. Where
pydantic-ai and langchain-core are installed, they are given the same list: install them into an environment that is
thrown away again, with the packages (`pip install pydantic-ai-slim langchain-core …`), and run this file there with
PYTHONPATH. `--reasons` says of each function what went wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import io
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from pydantic_core import to_jsonable_python

from toolchat.tools.check import Rejected, check_arguments
from toolchat.tools.result import result_text
from toolchat.tools.schema import function_schema
from toolchat.tools.toolbox import LoadedTool, Tool

WRONG = {"no such": [[{"value": []}]]}
"""What no function below takes for its first argument; those that take anything have none to refuse."""
ANYTHING = ("json:dumps", "pprint:pformat", "copy:deepcopy", "yaml:safe_dump", "builtins:repr", "reprlib:repr")
FUNCTIONS = """
math:sqrt {"x": 9}
math:gcd {"integers": [12, 18]}
math:comb {"n": 5, "k": 2}
math:factorial {"n": 10}
math:isclose {"a": 0.1, "b": 0.1}
math:dist {"p": [0, 0], "q": [3, 4]}
math:prod {"iterable": [2, 3, 4]}
math:fsum {"seq": [0.1, 0.2]}
math:degrees {"x": 1}
math:floor {"x": 2.5}
math:pow {"x": 2, "y": 8}
math:copysign {"x": 1, "y": -2}
statistics:mean {"data": [1, 2, 3]}
statistics:median {"data": [1, 2, 3]}
statistics:mode {"data": [1, 1, 2]}
statistics:stdev {"data": [1, 2, 4]}
statistics:quantiles {"data": [1, 2, 3, 4]}
statistics:geometric_mean {"data": [54, 24, 36]}
statistics:correlation {"x": [1, 2, 3], "y": [1, 2, 4]}
statistics:linear_regression {"x": [1, 2, 3], "y": [2, 4, 6]}
statistics:fmean {"data": [1, 2, 4]}
textwrap:wrap {"text": "a long line of words", "width": 8}
textwrap:fill {"text": "a long line of words", "width": 8}
textwrap:shorten {"text": "a long line of words", "width": 12}
textwrap:dedent {"text": "  a"}
textwrap:indent {"text": "a", "prefix": "> "}
json:dumps {"obj": "a", "indent": 2}
json:loads {"s": "[1, 2]"}
os.path:join {"a": "x", "p": ["y", "z"]}
os.path:basename {"p": "/a/b"}
os.path:splitext {"p": "/a/b.txt"}
os.path:exists {"path": "/"}
os.path:normpath {"path": "/a/../b"}
os.path:commonpath {"paths": ["/a/b", "/a/c"]}
os.path:relpath {"path": "/a/b", "start": "/a"}
os:listdir {"path": "/proc/self/ns"}
os:getenv {"key": "NO_SUCH", "default": "d"}
os:stat {"path": "/"}
os:cpu_count {}
posixpath:dirname {"p": "/a/b"}
glob:glob {"pathname": "/pro[c]"}
fnmatch:filter {"names": ["a.py", "b.c"], "pat": "*.py"}
fnmatch:fnmatch {"name": "a.py", "pat": "*.py"}
shutil:which {"cmd": "sh"}
shutil:disk_usage {"path": "/proc"}
difflib:get_close_matches {"word": "appel", "possibilities": ["ape", "apple"]}
difflib:ndiff {"a": ["x"], "b": ["y"]}
difflib:unified_diff {"a": ["x"], "b": ["y"]}
re:sub {"pattern": "a", "repl": "b", "string": "banana"}
re:findall {"pattern": "an", "string": "banana"}
re:split {"pattern": ",", "string": "a,b"}
re:escape {"pattern": "a.b"}
re:search {"pattern": "an", "string": "banana"}
re:match {"pattern": "x", "string": "banana"}
html:escape {"s": "<a>"}
html:unescape {"s": "&lt;"}
urllib.parse:urlparse {"url": "http://a/b?c=d"}
urllib.parse:urljoin {"base": "http://a/b", "url": "c"}
urllib.parse:quote {"string": "a b"}
urllib.parse:unquote {"string": "a%20b"}
urllib.parse:parse_qs {"qs": "a=1&b=2"}
urllib.parse:urlsplit {"url": "http://a/b"}
urllib.parse:urlencode {"query": {"a": 1}}
random:Random.randint {"self": null}
calendar:isleap {"year": 2024}
calendar:monthrange {"year": 2024, "month": 2}
calendar:month {"theyear": 2024, "themonth": 2}
calendar:leapdays {"y1": 2000, "y2": 2024}
calendar:timegm {"tuple": [1970, 1, 2, 0, 0, 0]}
colorsys:rgb_to_hsv {"r": 0.2, "g": 0.4, "b": 0.4}
colorsys:hls_to_rgb {"h": 0.5, "l": 0.3, "s": 0.3}
bisect:bisect {"a": [1, 3, 5], "x": 4}
bisect:bisect_left {"a": [1, 3, 5], "x": 3}
heapq:nlargest {"n": 2, "iterable": [3, 1, 2]}
heapq:nsmallest {"n": 2, "iterable": [3, 1, 2]}
heapq:merge {"iterables": [[1, 3], [2, 4]]}
string:capwords {"s": "a tale"}
unicodedata:normalize {"form": "NFC", "unistr": "a"}
unicodedata:east_asian_width {"chr": "a"}
unicodedata:category {"chr": "a"}
operator:add {"a": 1, "b": 2}
operator:mul {"a": 3, "b": 2}
operator:contains {"a": ["x"], "b": "x"}
operator:countOf {"a": [1, 1], "b": 1}
builtins:sorted {"iterable": [3, 1, 2]}
builtins:sum {"iterable": [1, 2]}
builtins:len {"obj": "abc"}
builtins:abs {"x": -3}
builtins:round {"number": 2.567, "ndigits": 1}
builtins:pow {"base": 2, "exp": 5}
builtins:divmod {"x": 7, "y": 2}
builtins:bin {"number": 5}
builtins:hex {"number": 255}
builtins:chr {"i": 65}
builtins:ord {"c": "A"}
builtins:repr {"obj": "a"}
builtins:ascii {"obj": "é"}
builtins:any {"iterable": [0, 1]}
builtins:all {"iterable": [0, 1]}
builtins:format {"value": 3.14159, "format_spec": ".2f"}
builtins:max {"arg": [1, 2]}
time:strftime {"format": "%Y"}
time:time {}
time:monotonic {}
platform:system {}
platform:python_version {}
platform:uname {}
socket:gethostname {}
socket:htons {"x": 1}
sysconfig:get_platform {}
locale:getlocale {}
getpass:getuser {}
tempfile:gettempdir {}
sys:getrecursionlimit {}
sys:intern {"string": "a"}
keyword:iskeyword {"s": "for"}
token:ISTERMINAL {"x": 1}
ast:literal_eval {"node_or_string": "[1, 2]"}
zlib:crc32 {"data": "a"}
base64:b64encode {"s": "a"}
binascii:hexlify {"data": "a"}
hashlib:new {"name": "md5"}
secrets:token_hex {"nbytes": 4}
secrets:randbelow {"exclusive_upper_bound": 1}
uuid:uuid4 {}
uuid:uuid1 {}
email.utils:parseaddr {"addr": "A <a@b.c>"}
email.utils:formataddr {"pair": ["A", "a@b.c"]}
mimetypes:guess_type {"url": "a.png"}
ipaddress:ip_address {"address": "10.0.0.1"}
ipaddress:ip_network {"address": "10.0.0.0/30"}
shlex:split {"s": "a 'b c'"}
shlex:quote {"s": "a b"}
shlex:join {"split_command": ["a", "b c"]}
pprint:pformat {"object": "a"}
reprlib:repr {"x": "a"}
copy:deepcopy {"x": "a"}
itertools:chain {"iterables": [[1], [2]]}
functools:reduce {"function": "f", "sequence": [1]}
inspect:cleandoc {"doc": " a"}
linecache:getline {"filename": "/no", "lineno": 1}
quopri:encodestring {"s": "a"}
graphlib:TopologicalSorter.static_order {"self": null}
fractions:Fraction.from_float {"f": 0.5}
datetime:date.fromisoformat {"date_string": "2025-03-01"}
datetime:datetime.fromisoformat {"date_string": "2025-03-01T10:00:00"}
datetime:date.today {}
decimal:Decimal.from_float {"f": 0.5}
zoneinfo:available_timezones {}
configparser:ConfigParser.read_string {"self": null}
csv:list_dialects {}
gettext:gettext {"message": "a"}
importlib.metadata:version {"distribution_name": "pydantic"}
importlib.metadata:distributions {}
yaml:safe_load {"stream": "a: [1]"}
yaml:safe_dump {"data": "a"}
numpy:mean {"a": [1, 2, 3]}
numpy:std {"a": [1, 2, 3]}
numpy:median {"a": [1, 2, 3]}
numpy:percentile {"a": [1, 2, 3], "q": 50}
numpy:linspace {"start": 0, "stop": 1, "num": 3}
numpy:polyfit {"x": [1, 2, 3], "y": [2, 4, 6], "deg": 1}
numpy:interp {"x": 2.5, "xp": [1, 2, 3], "fp": [3, 2, 0]}
numpy:cumsum {"a": [1, 2]}
numpy:cross {"a": [1, 0, 0], "b": [0, 1, 0]}
numpy:round {"a": [1.26], "decimals": 1}
numpy:unique {"ar": [1, 1, 2]}
numpy:argmax {"a": [1, 5, 2]}
numpy:corrcoef {"x": [[1, 2], [2, 1]]}
numpy:histogram {"a": [1, 2, 2]}
numpy:eye {"N": 2}
numpy:full {"shape": 2, "fill_value": 7}
numpy:sin {"x": 0}
numpy:diff {"a": [1, 4]}
numpy.linalg:norm {"x": [3, 4]}
numpy.linalg:inv {"a": [[1, 0], [0, 2]]}
numpy.linalg:solve {"a": [[1, 0], [0, 2]], "b": [1, 2]}
numpy.linalg:det {"a": [[1, 0], [0, 2]]}
numpy.linalg:eigvals {"a": [[1, 0], [0, 2]]}
sympy:factorint {"n": 60}
sympy:isprime {"n": 7}
sympy:nextprime {"n": 7}
sympy:sympify {"a": "x**2"}
sympy:simplify {"expr": "x + x"}
sympy:expand {"e": "(x + 1)**2"}
sympy:factor {"f": "x**2 - 1"}
sympy:diff {"f": "x**2", "symbols": ["x"]}
sympy:solve {"f": "x**2 - 4"}
sympy:latex {"expr": "x**2"}
sympy:divisors {"n": 12}
sympy:primerange {"a": 2, "b": 10}
mpmath:nstr {"x": 1}
networkx:complete_graph {"n": 3}
networkx:path_graph {"n": 3}
networkx:petersen_graph {}
jinja2.filters:do_upper {"s": "a"}
jinja2.filters:do_title {"s": "a tale"}
jinja2.utils:generate_lorem_ipsum {"n": 1}
markupsafe:escape {"s": "<"}
packaging.version:parse {"version": "1.2.3"}
packaging.utils:canonicalize_name {"name": "A_b"}
packaging.utils:canonicalize_version {"version": "1.0"}
charset_normalizer:is_binary {"fp_or_path_or_payload": "/etc/hostname"}
idna:encode {"s": "bücher.de"}
idna:decode {"s": "xn--bcher-kva.de"}
requests.utils:get_encoding_from_headers {"headers": {"content-type": "text/html"}}
requests.utils:quote {"string": "a b"}
requests.utils:is_ipv4_address {"string_ip": "10.0.0.1"}
requests.utils:parse_header_links {"value": "<a>; rel=b"}
requests.utils:unquote_unreserved {"uri": "a%20b"}
requests.utils:urldefragauth {"url": "http://a/b#c"}
urllib3.util:parse_url {"url": "http://a/b"}
wcwidth:wcswidth {"pwcs": "abc"}
wcwidth:wcwidth {"wc": "a"}
jmespath:search {"expression": "a", "data": {"a": 1}}
simpleeval:simple_eval {"expr": "1 + 2"}
regex:findall {"pattern": "a", "string": "banana"}
regex:sub {"pattern": "a", "repl": "b", "string": "banana"}
docstring_parser:parse {"text": "A."}
PIL.ImageColor:getrgb {"color": "red"}
PIL.ImageColor:getcolor {"color": "red", "mode": "RGB"}
click:format_filename {"filename": "a"}
click:unstyle {"text": "a"}
click:style {"text": "a"}
psutil:cpu_count {}
psutil:pid_exists {"pid": 1}
psutil:boot_time {}
jwt:get_unverified_header {"jwt": "eyJhbGciOiJIUzI1NiJ9.e30.AAAA"}
""".strip().splitlines()


@dataclass
class Score:
    """Of one contender: the names of what went well, by column."""

    name: str
    columns: dict[str, set[str]] = field(
        default_factory=lambda: {column: set() for column in ("loaded", "right", "refused", "delivered", "described")}
    )
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """A function as a tool of one contender."""

    described: bool
    run: Callable[[dict[str, Any]], Any]
    """Checks and calls; raises `Refused` where the arguments are refused, else what the function raises."""
    text: Callable[[Any], str]


class Refused(Exception):  # noqa: N818 (it is an outcome)
    pass


def with_toolchat(function: Callable[..., Any]) -> Made:
    schema = function_schema(function)
    tool = LoadedTool(
        Tool("f", "F.", schema.parameters, "m:f", schema.signature, "t:1:1"),
        getattr(schema, "call", function),
        schema.model,
    )

    def run(arguments: dict[str, Any]) -> Any:
        checked = check_arguments(tool, arguments)
        if isinstance(checked, Rejected):
            raise Refused(checked.message)
        return tool.function(**checked.values)

    return Made(bool(schema.summary), run, result_text)


def with_pydantic_ai(function: Callable[..., Any]) -> Made:
    from pydantic import ValidationError
    from pydantic_ai import Tool as Peer  # type: ignore[import-not-found,unused-ignore]

    made = Peer(function, takes_ctx=False).function_schema

    def run(arguments: dict[str, Any]) -> Any:
        try:
            checked = made.validator.validate_python(arguments)
        except ValidationError as error:
            raise Refused(str(error)) from None
        return asyncio.run(made.call(checked, None))

    return Made(bool(made.description), run, lambda value: json_text(value))


def with_langchain(function: Callable[..., Any]) -> Made:
    from langchain_core.tools import StructuredTool  # type: ignore[import-not-found,unused-ignore]
    from pydantic import ValidationError

    described = bool(inspect.getdoc(function))
    made = StructuredTool.from_function(function, name="f", description=None if described else "F.")

    def run(arguments: dict[str, Any]) -> Any:
        try:
            return made.invoke(arguments)
        except ValidationError as error:
            raise Refused(str(error)) from None

    # As its ToolMessage has it: JSON where that is possible, else str.
    return Made(described, run, lambda value: value if isinstance(value, str) else json_or_str(value))


def json_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(to_jsonable_python(value))


def json_or_str(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def contenders() -> Iterator[tuple[str, Callable[[Callable[..., Any]], Made]]]:
    yield "toolchat", with_toolchat
    if find_spec("pydantic_ai"):
        yield "pydantic-ai", with_pydantic_ai
    if find_spec("langchain_core"):
        yield "langchain-core", with_langchain


def found(reference: str) -> Callable[..., Any] | None:
    """None where the package is not installed."""
    module, _, names = reference.partition(":")
    try:
        value: Any = importlib.import_module(module)
    except ImportError:
        return None
    for name in names.split("."):
        value = getattr(value, name)
    return value  # type: ignore[no-any-return]


def plainly(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """What Python itself makes of the arguments."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:
        return function(*arguments.values())
    rest = next((name for name, one in parameters.items() if one.kind is one.VAR_POSITIONAL), None)
    given = dict(arguments)
    if rest in given:
        many = given.pop(rest)
        return function(*(given.pop(name) for name in list(given)), *many)
    only = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_ONLY and name in given]
    return function(*(given.pop(name) for name in only), **given)


def plain_text(function: Callable[..., Any], arguments: dict[str, Any]) -> str | None:
    """What a plain call gives, as text; None where it fails, or is another each time (a clock, a random number)."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            one, other = (result_text(plainly(function, dict(arguments))) for _ in range(2))
    except Exception:
        return None
    return one if one == other and " object at 0x" not in one else None


def judge(
    score: Score,
    make: Callable[[Callable[..., Any]], Made],
    reference: str,
    arguments: dict[str, Any],
    expected: str | None,
) -> None:
    function = found(reference)
    assert function is not None
    try:
        made = make(function)
    except Exception as error:
        score.reasons[reference] = f"not loaded: {' '.join(str(error).split())[:140]}"
        return
    score.columns["loaded"].add(reference)
    if made.described:
        score.columns["described"].add(reference)
    if arguments and reference not in ANYTHING:
        first = next(iter(arguments))
        try:
            made.run({**arguments, first: WRONG})
        except Refused:
            score.columns["refused"].add(reference)
        except Exception as error:
            score.reasons[reference] = f"wrong argument reached it: {type(error).__name__}"
    try:
        value = made.run(dict(arguments))
        # Anew: an iterator can be read once.
        given = result_text(made.run(dict(arguments))) if expected is not None else None
    except Refused as error:
        score.reasons[reference] = f"right arguments refused: {' '.join(str(error).split())[:140]}"
        return
    except Exception as error:
        score.reasons[reference] = f"right arguments failed: {type(error).__name__}: {str(error)[:100]}"
        return
    if given != expected:
        score.reasons[reference] = f"another result: {str(given)[:60]}, not {str(expected)[:60]}"
        return
    score.columns["right"].add(reference)
    try:
        text = made.text(value)
    except Exception as error:
        score.reasons[reference] = f"no result: {type(error).__name__}: {str(error)[:100]}"
        return
    if " object at 0x" in text:
        score.reasons[reference] = f"only an address: {text[:80]}"
        return
    score.columns["delivered"].add(reference)


def main() -> None:
    rows = [(name, json.loads(words)) for name, _, words in (line.partition(" ") for line in FUNCTIONS)]
    # Those that need an object of their class are another matter: a class is an entry of its own.
    rows = [(name, words) for name, words in rows if "self" not in words]
    missing = sorted({name.partition(":")[0] for name, _ in rows if found(name) is None})
    rows = [(name, words) for name, words in rows if found(name) is not None]
    scores: list[Score] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected: dict[str, str | None] = {}
        for name, words in rows:
            function = found(name)
            assert function is not None
            expected[name] = plain_text(function, words)
        for label, make in contenders():
            score = Score(label)
            for name, words in rows:
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    judge(score, make, name, words, expected[name])
            scores.append(score)
    refusable = [name for name, words in rows if words and name not in ANYTHING]
    report(scores, rows, len(refusable))
    if missing:
        print(f"not installed: {', '.join(missing)}")
    if "--reasons" in sys.argv:
        for score in scores:
            for name, why in score.reasons.items():
                print(f"{score.name}: {name}: {why}")


def report(scores: list[Score], rows: list[tuple[str, dict[str, Any]]], refusable: int) -> None:
    tops = {name.partition(":")[0].partition(".")[0] for name, _ in rows}
    packages = len(tops - set(sys.stdlib_module_names))
    print(f"{len(rows)} functions, of the standard library and {packages} packages; {refusable} of them can refuse\n")
    head = ("", "loaded", "right", "refused a wrong one", "result delivered", "described")
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for score in scores:
        print(f"| {score.name} | {' | '.join(str(len(names)) for names in score.columns.values())} |")


if __name__ == "__main__":
    main()
