"""How many functions that people already have become tools, and what becomes of their calls and results.

Functions of the standard library and of packages, none of which was written for a model, are given as they are: to
toolchat by an entry of a tools file that says no more than the name. Counted are those that load, that give with right
arguments what a plain call gives, that refuse a wrong argument before they run, whose result reaches the model as text,
and that have a description. Then the same for a method of classes: toolchat is given the class by a tools file with the
constructor's arguments, the others, which take no class, the bound method of an object that is made for them.

Where pydantic-ai, FastMCP and langchain-core are installed, they are given the same lists: install them into an
environment that is thrown away again, with the packages (`pip install . $(.venv/bin/python benchmarks/real_functions.py
--packages)`), and run this file there. `--reasons` says of each function what went wrong. The second list of functions
was written when the rules for parameters without a type had been made with the first, to show what they are worth.
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pydantic_core import to_jsonable_python

from toolchat.tools.argument_check import Rejected, check_arguments
from toolchat.tools.load import load_tools
from toolchat.tools.toolbox import LoadedTool
from toolchat.tools.values import result_text

WRONG = {"no such": [[{"value": []}]]}
"""What no function below takes for its first argument; those that take anything have none to refuse."""
UNUSABLE = "the plain call fails"
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
OTHERS = """
pandas:to_datetime {"arg": "2025-03-01"}
pandas:to_numeric {"arg": ["1", "2"]}
pandas:date_range {"start": "2025-01-01", "periods": 3}
pandas:cut {"x": [1, 5, 9], "bins": 2}
pandas:unique {"values": ["a", "b", "a"]}
pandas:isna {"obj": [1, null]}
pandas:to_timedelta {"arg": "90s"}
pandas:factorize {"values": ["a", "b", "a"]}
polars:date_range {"start": "2025-01-01", "end": "2025-01-03"}
polars:from_dicts {"data": [{"a": 1}, {"a": 2}]}
polars:from_dict {"data": {"a": [1, 2]}}
scipy.stats:zscore {"a": [1, 2, 3]}
scipy.stats:pearsonr {"x": [1, 2, 3], "y": [1, 2, 4]}
scipy.stats:ttest_ind {"a": [1, 2, 3], "b": [2, 3, 5]}
scipy.stats:gmean {"a": [1, 2, 4]}
scipy.special:comb {"N": 5, "k": 2}
scipy.spatial.distance:euclidean {"u": [0, 0], "v": [3, 4]}
scipy.spatial.distance:cosine {"u": [1, 0], "v": [0, 1]}
scipy.integrate:trapezoid {"y": [1, 2, 3]}
scipy.linalg:det {"a": [[1, 0], [0, 2]]}
scipy.signal:find_peaks {"x": [0, 2, 0, 3, 0]}
sklearn.metrics:accuracy_score {"y_true": [1, 0, 1], "y_pred": [1, 1, 1]}
sklearn.metrics:mean_squared_error {"y_true": [1, 2], "y_pred": [1, 4]}
sklearn.metrics:f1_score {"y_true": [1, 0, 1], "y_pred": [1, 1, 1]}
sklearn.metrics:confusion_matrix {"y_true": [1, 0], "y_pred": [1, 1]}
sklearn.preprocessing:scale {"X": [[1.0], [3.0]]}
sklearn.datasets:make_blobs {"n_samples": 3, "random_state": 1}
dateutil.parser:parse {"timestr": "1 March 2025"}
dateutil.parser:isoparse {"dt_str": "2025-03-01"}
dateutil.easter:easter {"year": 2025}
dateutil.tz:gettz {"name": "Europe/Zurich"}
pytz:timezone {"zone": "Europe/Zurich"}
tabulate:tabulate {"tabular_data": [[1, 2]], "headers": ["a", "b"]}
humanize:naturalsize {"value": 3000000}
humanize:intcomma {"value": 12345}
humanize:intword {"value": 1200000}
humanize:ordinal {"value": 3}
humanize:fractional {"value": 0.5}
humanize:naturaldelta {"value": 90}
humanize:metric {"value": 1500, "unit": "V"}
pendulum:parse {"text": "2025-03-01"}
pendulum:from_timestamp {"timestamp": 0}
pendulum:duration {"days": 2}
pendulum:date {"year": 2025, "month": 3, "day": 1}
pendulum:timezone {"name": "Europe/Zurich"}
bs4.dammit:EntitySubstitution.substitute_xml {"value": "a<b"}
lxml.etree:fromstring {"text": "<a/>"}
lxml.html:fromstring {"html": "<p>a</p>"}
markdown:markdown {"text": "*a*"}
pint.util:to_units_container {"unit_like": "m"}
rapidfuzz.fuzz:ratio {"s1": "appel", "s2": "apple"}
rapidfuzz.fuzz:partial_ratio {"s1": "appel", "s2": "apple"}
rapidfuzz.process:extractOne {"query": "appel", "choices": ["ape", "apple"]}
rapidfuzz.process:extract {"query": "appel", "choices": ["ape", "apple"]}
rapidfuzz.distance.Levenshtein:distance {"s1": "appel", "s2": "apple"}
unidecode:unidecode {"string": "Zürich"}
more_itertools:chunked {"iterable": [1, 2, 3], "n": 2}
more_itertools:flatten {"listOfLists": [[1], [2]]}
more_itertools:windowed {"seq": [1, 2, 3], "n": 2}
more_itertools:unique_everseen {"iterable": [1, 1, 2]}
more_itertools:collapse {"iterable": [1, [2, [3]]]}
more_itertools:first {"iterable": [1, 2]}
more_itertools:divide {"n": 2, "iterable": [1, 2, 3, 4]}
toolz:frequencies {"seq": ["a", "b", "a"]}
toolz:partition_all {"n": 2, "seq": [1, 2, 3]}
toolz:interleave {"seqs": [[1, 3], [2, 4]]}
toolz:merge {"dicts": [{"a": 1}, {"b": 2}]}
toolz:concat {"seqs": [[1], [2]]}
toolz:pluck {"ind": 0, "seqs": [[1, 2], [3, 4]]}
toolz:get_in {"keys": ["a"], "coll": {"a": 1}}
xmltodict:parse {"xml_input": "<a><b>1</b></a>"}
xmltodict:unparse {"input_dict": {"a": "1"}}
tomlkit:parse {"string": "a = 1"}
tomlkit:dumps {"data": {"a": 1}}
orjson:loads {"obj": "[1]"}
orjson:dumps {"obj": {"a": 1}}
babel.numbers:format_currency {"number": 12.5, "currency": "EUR", "locale": "de"}
babel.numbers:format_decimal {"number": 1234.5, "locale": "de"}
babel.numbers:format_percent {"number": 0.25, "locale": "en"}
babel.units:format_unit {"value": 3, "measurement_unit": "length-meter", "locale": "de"}
babel.lists:format_list {"lst": ["a", "b"], "locale": "en"}
phonenumbers:parse {"number": "+41446681800"}
slugify:slugify {"text": "A Tale"}
textdistance:hamming {"sequences": ["abc", "abd"]}
textdistance:levenshtein {"sequences": ["abc", "abd"]}
textdistance:jaccard {"sequences": ["abc", "abd"]}
chardet:detect {"byte_str": "abc"}
ftfy:fix_text {"text": "â€œa"}
ftfy:fix_encoding {"text": "Ã¼"}
nltk.tokenize:wordpunct_tokenize {"text": "a tale"}
nltk.util:ngrams {"sequence": ["a", "b", "c"], "n": 2}
nltk.util:bigrams {"sequence": ["a", "b", "c"]}
nltk.metrics:edit_distance {"s1": "appel", "s2": "apple"}
emoji:emojize {"string": ":thumbs_up:"}
emoji:demojize {"string": "👍"}
holidays:country_holidays {"country": "CH", "years": 2025}
holidays:list_supported_countries {}
geopy.units:kilometers {"miles": 1}
geopy.distance:lonlat {"x": 8.5, "y": 47.4}
shapely:from_wkt {"geometry": "POINT (1 2)"}
shapely:box {"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1}
shapely.geometry:shape {"context": {"type": "Point", "coordinates": [1, 2]}}
httpx:codes.get_reason_phrase {"value": 404}
rich.filesize:decimal {"size": 3000}
rich.markup:escape {"markup": "[a]"}
rich.cells:cell_len {"text": "abc"}
openpyxl.utils:get_column_letter {"col_idx": 28}
openpyxl.utils:column_index_from_string {"col": "AB"}
openpyxl.utils.cell:coordinate_from_string {"coord_string": "A1"}
tzlocal:get_localzone_name {}
""".strip().splitlines()
CLASSES = """
collections:Counter {"iterable": "aab"} most_common {"n": 1}
collections:UserDict {"dict": {"a": 1}} copy {}
fractions:Fraction {"numerator": 1, "denominator": 3} limit_denominator {"max_denominator": 2}
decimal:Decimal {"value": "1.25"} sqrt {}
datetime:date {"year": 2025, "month": 3, "day": 1} isoformat {}
datetime:timedelta {"days": 2} total_seconds {}
string:Template {"template": "Hi $name"} safe_substitute {"mapping": {"name": "Ada"}}
textwrap:TextWrapper {"width": 12} wrap {"text": "a long line of words"}
ipaddress:IPv4Network {"address": "10.0.0.0/30"} hosts {}
ipaddress:IPv4Network {"address": "10.0.0.0/30"} subnets {"prefixlen_diff": 1}
calendar:TextCalendar {"firstweekday": 0} formatmonth {"theyear": 2025, "themonth": 3}
calendar:HTMLCalendar {} formatmonth {"theyear": 2025, "themonth": 3}
calendar:Calendar {} monthdayscalendar {"year": 2025, "month": 3}
difflib:SequenceMatcher {"a": "appel", "b": "apple"} ratio {}
difflib:HtmlDiff {} make_table {"fromlines": ["a"], "tolines": ["b"]}
difflib:Differ {} compare {"a": ["x"], "b": ["y"]}
statistics:NormalDist {"mu": 0, "sigma": 1} cdf {"x": 0}
statistics:NormalDist {"mu": 0, "sigma": 1} quantiles {"n": 4}
pprint:PrettyPrinter {"width": 20} pformat {"object": [1, 2]}
reprlib:Repr {} repr {"x": "a"}
json:JSONEncoder {"indent": 2} encode {"o": [1]}
json:JSONDecoder {} decode {"s": "[1]"}
configparser:ConfigParser {} sections {}
graphlib:TopologicalSorter {"graph": {"a": ["b"]}} static_order {}
mimetypes:MimeTypes {} guess_type {"url": "a.png"}
gettext:NullTranslations {} gettext {"message": "a"}
string:Formatter {} vformat {"format_string": "{0}", "args": ["a"], "kwargs": {}}
http.cookies:SimpleCookie {} output {}
urllib.robotparser:RobotFileParser {"url": "http://a/robots.txt"} mtime {}
email.message:EmailMessage {} as_string {}
csv:Sniffer {} has_header {"sample": "a,b\\n1,2\\n3,4"}
queue:Queue {"maxsize": 2} qsize {}
timeit:Timer {"stmt": "1"} timeit {"number": 1}
pathlib:PurePosixPath {} as_posix {}
logging:Formatter {} usesTime {}
zipfile:ZipInfo {"filename": "a/"} is_dir {}
shlex:shlex {"instream": "a b"} get_token {}
textwrap:TextWrapper {} fill {"text": "a b"}
networkx:Graph {} number_of_nodes {}
networkx:DiGraph {} add_edge {"u_of_edge": "a", "v_of_edge": "b"}
pandas:Series {"data": [1, 2]} mean {}
pandas:Series {"data": [1, 2]} head {"n": 1}
pandas:DataFrame {"data": {"a": [1, 2]}} head {"n": 1}
pandas:DataFrame {"data": {"a": [1, 2]}} sum {}
polars:DataFrame {"data": {"a": [1, 2]}} head {"n": 1}
polars:Series {"name": "a", "values": [1, 2]} sum {}
pint:UnitRegistry {} get_dimensionality {"input_units": "m"}
pint:UnitRegistry {} parse_expression {"input_string": "3 m"}
jinja2:Template {"source": "Hi {{ name }}"} render {}
jinja2:Environment {} compile_expression {"source": "1 + 1"}
faker:Faker {} seed_instance {"seed": 1}
inflect:engine {} plural {"text": "dog"}
inflect:engine {} number_to_words {"num": 12}
simpleeval:SimpleEval {} eval {"expr": "1 + 2"}
arrow:Arrow {"year": 2025, "month": 3, "day": 1} isoformat {}
arrow:Arrow {"year": 2025, "month": 3, "day": 1} format {"fmt": "YYYY"}
requests:Session {} get_adapter {"url": "http://a"}
bs4:BeautifulSoup {"markup": "<p>a</p>", "features": "html.parser"} get_text {}
markdown:Markdown {} convert {"source": "*a*"}
cachetools:TTLCache {"maxsize": 2, "ttl": 10} get {"key": "a"}
cachetools:LRUCache {"maxsize": 2} pop {"key": "a", "default": 1}
sortedcontainers:SortedList {"iterable": [3, 1]} bisect_left {"value": 3}
sortedcontainers:SortedList {"iterable": [3, 1]} count {"value": 3}
httpx:URL {"url": "http://a/b"} join {"url": "c"}
httpx:QueryParams {} keys {}
numpy.polynomial:Polynomial {"coef": [1, 2]} deriv {"m": 1}
numpy.polynomial:Polynomial {"coef": [1, 2]} roots {}
sklearn.preprocessing:StandardScaler {} fit_transform {"X": [[1.0], [3.0]]}
sklearn.linear_model:LinearRegression {} get_params {}
sklearn.feature_extraction.text:CountVectorizer {} fit_transform {"raw_documents": ["a b", "b c"]}
sklearn.cluster:KMeans {"n_clusters": 2} get_params {}
textdistance:Levenshtein {} distance {"sequences": ["abc", "abd"]}
textdistance:Jaccard {} similarity {"sequences": ["abc", "abd"]}
babel:Locale {"language": "de"} get_display_name {"locale": "en"}
packaging.specifiers:SpecifierSet {"specifiers": ">=1"} contains {"item": "1.2"}
nltk.stem:PorterStemmer {} stem {"word": "running"}
nltk.tokenize:RegexpTokenizer {"pattern": "[a-z]+"} tokenize {"text": "a tale"}
nltk.stem:SnowballStemmer {"language": "english"} stem {"word": "running"}
dateutil.parser:parser {} parse {"timestr": "2025-03-01"}
dateutil.relativedelta:relativedelta {"days": 2} normalized {}
rich.table:Table {"title": "a"} add_row {"renderables": ["a"]}
rich.text:Text {"text": "abc"} truncate {"max_width": 2}
psutil:Process {} name {}
jwt:PyJWT {} encode {"payload": {"a": 1}, "key": "secret-secret-secret-secret-1234", "algorithm": "HS256"}
chardet:UniversalDetector {} reset {}
openpyxl:Workbook {} create_sheet {"title": "a"}
shapely:Point {"args": [1, 2]} buffer {"distance": 1}
geopy:Point {"latitude": 47.4, "longitude": 8.5} format_decimal {}
holidays:HolidayBase {"years": 2025} get_list {"key": "2025-01-01"}
tomlkit:TOMLDocument {} as_string {}
more_itertools:peekable {"iterable": [1, 2]} peek {}
sympy:Symbol {"name": "x"} diff {"symbols": ["x"]}
sympy:Rational {"p": 1, "q": 3} limit_denominator {"max_denominator": 2}
sympy:Matrix {"args": [[[1, 0], [0, 2]]]} det {}
scipy.spatial:KDTree {"data": [[0, 0], [3, 4]]} query {"x": [3, 3]}
""".strip().splitlines()
PACKAGES = (
    "pydantic-ai-slim fastmcp langchain-core numpy pandas polars scipy scikit-learn sympy networkx requests "
    "httpx jinja2 packaging charset-normalizer idna wcwidth jmespath simpleeval regex docstring-parser pillow "
    "click psutil pyjwt python-dateutil pytz tabulate humanize pendulum arrow beautifulsoup4 lxml markdown "
    "pint openpyxl rapidfuzz unidecode more-itertools toolz sortedcontainers cachetools xmltodict tomlkit "
    "orjson rich tzlocal babel phonenumbers python-slugify inflect faker shapely geopy holidays textdistance "
    "chardet validators ftfy nltk emoji"
)


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


def with_toolchat(entry: dict[str, Any], reference: str) -> Made:
    """What a tools file with this entry alone makes of the callable `reference`."""
    path = Path("tools.yaml")
    path.write_text(json.dumps({"version": 1, "tools": [entry]}), encoding="utf-8")
    for tool in load_tools(path).tools:
        if tool.tool.callable_ref == reference:
            told = tool.tool.description != f"Calls {reference.replace(':', '.')}."
            return Made(told, runner(tool), result_text)
    raise LookupError(f"{reference} is no tool of the file")


def runner(tool: LoadedTool) -> Callable[[dict[str, Any]], Any]:
    def run(arguments: dict[str, Any]) -> Any:
        checked = check_arguments(tool, arguments)
        if isinstance(checked, Rejected):
            raise Refused(checked.message)
        return tool.function(**checked.values)

    return run


def with_fastmcp(function: Callable[..., Any]) -> Made:
    from fastmcp.tools import FunctionTool  # type: ignore[import-not-found,unused-ignore]
    from pydantic import ValidationError

    made = FunctionTool.from_function(function, name="f")
    kept: list[Any] = []
    convert = FunctionTool.convert_result

    def keep(_: Any, value: Any) -> Any:
        kept.append(value)
        return convert(made, value)

    def run(arguments: dict[str, Any]) -> Any:
        kept.clear()
        with patch.object(FunctionTool, "convert_result", keep):
            try:
                asyncio.run(made.run(arguments))
            except ValidationError as error:
                raise Refused(str(error)) from None
            except Exception:
                # Where a result is there, writing it failed, which is judged by `text`.
                if not kept:
                    raise
        return kept[0]

    def text(value: Any) -> str:
        return "".join(str(getattr(block, "text", block)) for block in convert(made, value).content)

    return Made(bool(made.description), run, text)


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
    if find_spec("pydantic_ai"):
        yield "pydantic-ai", with_pydantic_ai
    if find_spec("fastmcp"):
        yield "FastMCP", with_fastmcp
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
        value = getattr(value, name, None)
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
        return function(*given.values(), *many)
    only = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_ONLY and name in given]
    first = [given.pop(name) for name in only]
    return function(*first, **given)


def plain_text(function: Callable[..., Any], arguments: dict[str, Any]) -> str | None:
    """What a plain call gives, as text; None where it is another each time (a clock, a random number), `UNUSABLE` where
    it fails."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            one, other = (result_text(plainly(function, dict(arguments))) for _ in range(2))
    except Exception:
        return UNUSABLE
    return one if one == other and " object at 0x" not in one else None


def judge(
    score: Score, make: Callable[[], Made], reference: str, arguments: dict[str, Any], expected: str | None
) -> None:
    try:
        made = make()
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


@dataclass(frozen=True)
class Row:
    """One line of a table: how each contender makes a tool of it, by its name, and what a right call is."""

    name: str
    makers: Mapping[str, Callable[[], Made]]
    arguments: dict[str, Any]
    expected: str | None


def function_row(line: str) -> Row | None:
    """None where the package is not installed, or a plain call fails too."""
    name, _, words = line.partition(" ")
    arguments = json.loads(words)
    # Those that need an object of their class are another matter: a class is an entry of its own.
    if "self" in arguments or (function := found(name)) is None:
        return None
    text = plain_text(function, arguments)
    if text is UNUSABLE:
        return None
    return Row(name, makers_of(lambda: function, name, {"callable": name}), arguments, text)


def class_row(line: str) -> Row | None:
    decoder = json.JSONDecoder()
    name, _, rest = line.partition(" ")
    given, end = decoder.raw_decode(rest)
    method, _, words = rest[end:].strip().partition(" ")
    arguments = json.loads(words)
    try:
        made_of: Any = found(name)
        getattr(plain_object(made_of, given), method)
    except Exception:
        return None
    text = plain_text(lambda **words: plainly(getattr(plain_object(made_of, given), method), words), arguments)
    if text is UNUSABLE:
        return None
    reference = f"{name}.{method}"

    def anew() -> Any:
        # One object for all would be, for each of them, as the one before has left it.
        return getattr(plain_object(made_of, given), method)

    return Row(reference, makers_of(anew, reference, {"callable": name, "arguments": given}), arguments, text)


def makers_of(find: Callable[[], Any], reference: str, entry: dict[str, Any]) -> dict[str, Callable[[], Made]]:
    """By contender: what makes a tool of the callable that `find` gives; toolchat is given the entry of a file."""

    def of_its_own(make: Callable[[Callable[..., Any]], Made]) -> Made:
        return make(find())

    peers = {label: partial(of_its_own, make) for label, make in contenders()}
    return {"toolchat": partial(with_toolchat, entry, reference), **peers}


def plain_object(made_of: Any, given: dict[str, Any]) -> Any:
    try:
        return plainly(made_of, given)
    except TypeError:
        return made_of(*given.values())


def main() -> None:
    if "--packages" in sys.argv:
        print(PACKAGES)
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for title, lines, make in (
            ("functions, first list", FUNCTIONS, function_row),
            ("functions, second list", OTHERS, function_row),
            ("methods, each of a class", CLASSES, class_row),
        ):
            rows = [row for line in lines if (row := make(line)) is not None]
            skipped = [line for line in lines if make(line) is None and '"self"' not in line]
            scores = [Score(label) for label in ("toolchat", *(label for label, _ in contenders()))]
            for score in scores:
                for row in rows:
                    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                        judge(score, row.makers[score.name], row.name, row.arguments, row.expected)
            report(title, scores, rows)
            if "--reasons" in sys.argv:
                for line in skipped:
                    print(f"not here, or its plain call fails: {line}")
                for score in scores:
                    for name, why in score.reasons.items():
                        print(f"{score.name}: {name}: {why}")


def report(title: str, scores: list[Score], rows: list[Row]) -> None:
    tops = {row.name.partition(":")[0].partition(".")[0] for row in rows}
    packages = len(tops - set(sys.stdlib_module_names))
    refusable = sum(1 for row in rows if row.arguments and row.name not in ANYTHING)
    print(f"\n{len(rows)} {title}, of the standard library and {packages} packages; {refusable} can refuse\n")
    head = ("", "loaded", "right", "refused a wrong one", "result delivered", "described")
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for score in scores:
        print(f"| {score.name} | {' | '.join(str(len(names)) for names in score.columns.values())} |")


if __name__ == "__main__":
    main()
