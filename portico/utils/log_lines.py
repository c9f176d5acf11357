"""From an event to a line: secrets masked, values made printable, rendered to fit.

Runs only for lines that are written, so nothing here is on the path of a suppressed log call.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from datetime import date, datetime
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

Event = MutableMapping[str, Any]
Renderer = Callable[[Mapping[str, Any]], str]

FORMATS = ("console", "json")
ERRORS = ("text", "type")
"""What a line says of an error: what it says itself, too, or only of which class it is."""
MASK = "***"

_SECRET_WORDS = (
    "password", "passwd", "passphrase", "secret", "authorization", "credential", "cookie",
    "api_key", "api-key", "apikey", "access_key", "access-key", "private_key", "private-key",
)  # fmt: skip
_SECRET_ENDINGS = ("token", "dsn", "pwd")
_WEB_PASSWORD = re.compile(r"(://[^\s:/@]*):(?!\d{1,5}[/?#])[^\s\"'<>]{0,256}@")
"""Also one with a slash in it; but a port and an @ later on are no password. Bounded, for a text
full of beginnings would cost its square otherwise."""
_STORE = re.compile(
    r"(?<![^\s\"'(<,;=\[{])(?!(?:https?|wss?|ftps?):)[\w+.-]+://(?=(?P<login>[^\s:/@]*:)?)",
    re.IGNORECASE,
)
"""The beginning of any other URL, of a store for one: any text may be a password in that."""
_PORT = re.compile(r"\d{1,5}\b")
_OPTION = re.compile(r"([?&#]([\w.%-]{1,80})=)[^&\s\"']+")
_WORD = re.compile(
    r"(?<![\w?&#%.-])((?:ssl)?(?:password|passwd|pwd)=)('[^']{1,4096}'|[^\s'\"]+)", re.IGNORECASE
)
"""As a connection string of words has it: `host=db password=x`."""
_STORE_OPTION = re.compile(r"([?&]([\w.%-]{1,80})=)[^&]+")
_SECRET_OPTION = re.compile(
    "passw|^pass$|pwd|secret|token|api_?key|access_?key|signature|^sig$|credential", re.IGNORECASE
)
_UNSEEN = (
    "\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180e"
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
"""What breaks lines, turns the direction of others, is there and cannot be seen, or is no character
at all: Unicode's categories Cf, Cs, Zl and Zp, and letters that are blank."""
_FORMS, _JOINERS = "\u180b-\u180d\u180f\ufe00-\ufe0f", "\u200c\u200d"
"""What chooses the form of its neighbours: Persian is written with it, and emoji are."""
_FORMED = rf"[^\x00-\x7f{_FORMS}{_JOINERS}]"
_AT_WORK = re.compile(
    rf"(?:(?<={_FORMED})|(?<={_FORMED}\ufe0f))(?:[{_JOINERS}](?=[^\x00-\x7f])|[{_FORMS}])"
    r"|\ufe0f(?=\u20e3)"
)
"""The same where it has such neighbours. Elsewhere it only makes a word look like another."""
_CONTROL_IN_JSON = re.compile(f"[\x7f-\x9f{_UNSEEN}{_FORMS}{_JOINERS}]")
_CONTROL = re.compile(f"[\x00-\x1f{_CONTROL_IN_JSON.pattern[1:]}")
_BARE = re.compile(r"[\w.:/@+,*%#~-]+", re.ASCII)

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_DEEPEST = 8
_MOST_ITEMS = 100
_MOST_KNOWN = 1000
_CUT = 32  # characters that saying so takes
_COLORS = {"debug": 36, "info": 32, "warning": 33, "error": 31, "critical": 31}
_FIRST = ("timestamp", "level", "logger", "event")
_BLOCKS = ("exception", "stack")
_BLOCKS_OF_A_TERMINAL = (*_BLOCKS, "traceback")
"""A program that reads the log elsewhere gets a job's traceback within the line of that job."""


def _secret_pattern(own: tuple[str, ...] = ()) -> re.Pattern[str]:
    words = [re.escape(word) for word in (*_SECRET_WORDS, *own)]
    endings = "|".join(_SECRET_ENDINGS)
    return re.compile(rf"{'|'.join(words)}|(?:{endings})\Z", re.IGNORECASE)


_SECRET = _secret_pattern()  # made before workers are forked, so that they share it


class Cleaner:
    """Turns values into what JSON can hold, with secrets masked.

    A value is a secret when its key says so (`password`, `api_key`, `refresh_token`, `dsn`, ...
    and whatever the application adds), at any depth; passwords inside of URLs are masked in every
    text.
    """

    def __init__(self, secret_keys: Iterable[str] = ()) -> None:
        own = tuple(secret_keys)
        self._secret = _secret_pattern(own) if own else _SECRET
        self._known: dict[str, bool] = {}

    def event(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Clean all values of one event."""
        return {
            str(key): MASK if self._is_secret(key) else self._value(value, 1)
            for key, value in event.items()
        }

    def _is_secret(self, key: object) -> bool:
        name = str(key)
        known = self._known.get(name)
        if known is None:
            known = self._secret.search(name) is not None
            if len(self._known) < _MOST_KNOWN:
                self._known[name] = known
        return known

    def _value(self, value: object, depth: int) -> Any:
        if type(value) is str:
            return masked_urls(value)
        match value:
            case dict() | list() | tuple() | set() | frozenset() if depth > _DEEPEST:
                return "..."
            case dict():
                return {
                    str(key): MASK if self._is_secret(key) else self._value(item, depth + 1)
                    for key, item in _first_items(value.items())
                }
            case list() | tuple() | set() | frozenset():
                return [self._value(item, depth + 1) for item in _first_items(value)]
        return _scalar(value)


def _scalar(value: object) -> str | int | float | None:
    match value:
        case None | bool() | int():
            return value
        case Enum():
            return _scalar(value.value)
        case str():
            return masked_urls(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case datetime() | date():
            return value.isoformat()
        case UUID() | PurePath():
            return masked_urls(str(value))
    return masked_urls(shown(value))


def masked_urls(text: str) -> str:
    """The text with passwords and secret query parameters of URLs masked.

    A last net, for texts of others: what Portico says of a store comes from `store_urls.shown`.
    Behind the URL of a store more may be masked than is secret, as far as the next URL or line.
    """
    if "://" not in text and "=" not in text:
        return text
    return "\n".join(map(_masked_line, text.split("\n")))


def _masked_line(line: str) -> str:
    if "://" not in line and "=" not in line:
        return line
    line = _WORD.sub(rf"\1{MASK}", line)
    stores = [*_STORE.finditer(line)]
    ends = [*(found.start() for found in stores), len(line)]
    before = _WEB_PASSWORD.sub(rf"\1:{MASK}@", line[: ends[0]])
    return _OPTION.sub(_without_secret, before) + "".join(
        _masked_store(line[start:end], found.end("login") - start)
        for found, start, end in zip(stores, ends, ends[1:], strict=False)
    )


def _masked_store(text: str, password: int) -> str:
    """One store's URL and what follows; its password begins there, if there is one."""
    last = text.rfind("@")
    port = _PORT.match(text, password) and " " in text[password:last]
    if 0 < password <= last and not port and not text.startswith(f"{MASK}@", password):
        text = f"{text[:password]}{MASK}{text[last:]}"
    return _STORE_OPTION.sub(_without_secret, _WEB_PASSWORD.sub(rf"\1:{MASK}@", text))


def _without_secret(found: re.Match[str]) -> str:
    name = found[2]
    if "%" in name:
        from urllib.parse import unquote  # hardly ever needed, and workers load little

        name = unquote(name)
    return f"{found[1]}{MASK}" if _SECRET_OPTION.search(name) else found[0]


_WORDS = ("error", "traceback")
_CLASS = re.compile(
    r"(?:\A|^Traceback \(most recent call last\):\n(?:[ \t].*\n)+)([\w.]+)(?=:|$)", re.MULTILINE
)


def without_words(render: Renderer) -> Renderer:
    """The same, but of an error whose type a line tells nothing else, and of one that a worker has
    logged its class alone: its words may be secret."""

    def rendered(event: Mapping[str, Any]) -> str:
        if "error_type" in event:
            event = {key: value for key, value in event.items() if key not in _WORDS}
        if "origin" in event and ("exception" in event or event.get("logger") == "asyncio"):
            said = str(event["event"]).partition("\n")[0]  # asyncio shows the error there
            event = {**event, "event": said, "exception": class_in(event.get("exception", ""))}
        return render(event)

    return rendered


def class_in(stack: object) -> str:
    """The class of the error that a traceback is of, its last one."""
    found: list[str] = _CLASS.findall(str(stack))
    return found[-1] if found else ""


def render_json(event: Mapping[str, Any]) -> str:
    """One JSON object on one line, for programs."""
    ordered = {key: event[key] for key in _FIRST if key in event} | dict(event)
    text = _json.encode(ordered)
    return escaped_json(text)


def escaped_json(text: str) -> str:
    """Encoded JSON with what a terminal would obey in its texts spelled out, and as good JSON."""
    return _CONTROL_IN_JSON.sub(_spelled_in_json, text)


def render_console(
    event: Mapping[str, Any], *, colored: bool = False, terminal: bool = False
) -> str:
    """One line for people; a traceback follows indented, so no text of it can pass for a line.

    Args:
        event: cleaned.
        colored: whether the level has its colour.
        terminal: whether a traceback that is a field, such as that of a job, follows so, too.
    """
    apart = _BLOCKS_OF_A_TERMINAL if terminal else _BLOCKS
    level = str(event.get("level", "info"))
    head = f"{level.upper():<8}"
    if colored:
        head = f"\x1b[{_COLORS.get(level, 0)}m{head}\x1b[0m"
    name = f"{escaped(str(event['logger']))}: " if event.get("logger") else ""
    blocks = "".join(
        f"\n    {escaped(line)}"
        for key in apart
        for line in str(event.get(key, "")).split("\n")
        if line
    )
    text = f"{escaped(str(event['event']))}{render_pairs(event, apart)}"
    return f"{event.get('timestamp', '')} {head} {name}{text}{blocks}"


def render_pairs(event: Mapping[str, Any], apart: Collection[str] = _BLOCKS) -> str:
    """The fields of a cleaned event as ` key=value` each, but for those that stand apart."""
    return "".join(
        f" {escaped(key)}={_console_value(value)}"
        for key, value in event.items()
        if key not in _FIRST and key not in apart
    )


def fitted(render: Renderer, event: Mapping[str, Any], longest: int) -> str:
    """Render in at most `longest` bytes, newline included, by cutting the middle out of long texts.

    A traceback may take up half of the line.
    """
    line = render(event)
    share = longest // 2
    while _size(line) > longest and share:
        shortened = {
            key: _shortened(value, share if key in _BLOCKS else share // 4)
            for key, value in event.items()
        }
        line = render(shortened)
        share //= 2
    return line


def _size(line: str) -> int:
    return len(line.encode("utf-8", "backslashreplace")) + 1


def _shortened(value: object, longest: int) -> object:
    """Keep both ends: a traceback says most at its end, and where it began at its start."""
    text = str(value)
    if len(text) <= longest + _CUT:
        return value
    half = longest // 2
    return f"{text[:half]}...[{len(text) - 2 * half} characters cut]...{text[len(text) - half :]}"


def encodable(text: str) -> str:
    """The text with what UTF-8 cannot hold, halves of surrogate pairs, spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def escaped(text: str) -> str:
    """The text with what breaks lines, commands a terminal or is not seen spelled out."""
    return _CONTROL.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    if _AT_WORK.match(found.string, found.start()):
        return found[0]
    return found[0].encode("unicode_escape").decode()


def _spelled_in_json(found: re.Match[str]) -> str:
    return found[0] if _AT_WORK.match(found.string, found.start()) else json.dumps(found[0])[1:-1]


def _console_value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str) or _BARE.fullmatch(text):
        return escaped(text)
    return '"' + escaped(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _first_items(items: Iterable[Any]) -> Iterable[Any]:
    return (item for item, _ in zip(items, range(_MOST_ITEMS), strict=False))


def shown(value: object) -> str:
    """A value's `repr`, or in its place what that raises."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - any class's __repr__ may raise anything
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
