"""The name by which people know a function of Rust: crate, type and function, without generic arguments.

`<alloc::vec::Vec<T,A> as core::ops::drop::Drop>::drop` is `alloc::Vec::drop`. Where the type has no name of its own (`T`, `&T`,
a tuple), the trait's stands for it: `core::Debug::fmt`. Of a function without a type the innermost module stands before it, and
our own names are whole. Both of the compiler's manglings are read: the legacy one, and v0, in which std comes.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, List

ESCAPES = {
    "$SP$": "@", "$BP$": "*", "$RF$": "&", "$LT$": "<", "$GT$": ">", "$LP$": "(", "$RP$": ")", "$C$": ",",
}
OURS = "jwt_reissuer"
PARAMETER = re.compile(r"[A-Z]\d?")


def demangled(symbol: str) -> str:
    """The name, without hashes; a symbol that is not understood, or not Rust's, as it is."""
    if symbol.startswith("_ZN"):
        return _short(_legacy(symbol))
    if symbol.startswith("_R"):
        try:
            return _short(_V0(symbol[2:]).path()) or symbol
        except (IndexError, KeyError, ValueError):
            return symbol
    return symbol


def _short(name: str) -> str:
    parts = name.split("::")
    if name.startswith(OURS) or len(parts) < 4:
        return name
    # What a closure is within says more than that it is one.
    kept = 3 if "closure" in parts[-1] else 2
    return "::".join([parts[0], *parts[1:][-kept:]])


# --- legacy -----------------------------------------------------------------------------------------------------------


def _legacy(symbol: str) -> str:
    match = re.fullmatch(r"_ZN(\d.*)E(?:\.\w+)*", symbol)
    if match is None:
        return symbol
    rest, parts = match[1], []
    while rest:
        digits = re.match(r"\d+", rest)
        if digits is None:
            return symbol
        start, end = digits.end(), digits.end() + int(digits[0])
        parts.append(rest[start:end])
        if end > len(rest):
            return symbol
        rest = rest[end:]
    if len(parts) > 1 and re.fullmatch(r"h[0-9a-f]{16}", parts[-1]):
        parts.pop()
    return _without_generics([_unescaped(part) for part in parts])


def _unescaped(part: str) -> str:
    for escape, character in ESCAPES.items():
        part = part.replace(escape, character)
    part = re.sub(r"\$u([0-9a-f]{1,6})\$", lambda match: chr(int(match[1], 16)), part)
    return re.sub(r"^_(?=[<&*({])", "", part).replace("..", "::")


def _without_generics(parts: List[str]) -> str:
    named: List[str] = []
    for part in parts:
        if part.startswith("<") and part.endswith(">"):
            # An impl is named by its type, in which module ever it stands.
            named = [_of_impl(part[1:-1])]
        else:
            named.append(_named(part) or part)
    return "::".join(named)


def _of_impl(text: str) -> str:
    """`Type`, `Type as Trait`, `impl Type`, `impl Trait for Type`: the type's name, or the trait's where it has none."""
    text = text.removeprefix("impl ")
    for word, type_first in ((" as ", True), (" for ", False)):
        at = _outside(text, word)
        if at >= 0:
            parts = (text[:at], text[at + len(word):])
            of_type, of_trait = parts if type_first else parts[::-1]
            return _first(_named(of_type), _named(of_trait), text)
    return _named(text) or text


def _named(text: str) -> str:
    """A path without its generic arguments; nothing for a type that has no path."""
    text = text.removeprefix("dyn ")
    path, depth = "", 0
    for character in text:
        depth += character == "<"
        if depth == 0:
            path += character
        depth -= character == ">"
    path = path.replace("::::", "::").removesuffix("::")
    if re.fullmatch(r"[\w{}]+(?:::[\w{}]+)*", path) is None or PARAMETER.fullmatch(path):
        return ""
    return path


def _outside(text: str, word: str) -> int:
    """Where a word stands that is in no brackets, or -1."""
    depth = 0
    for at, character in enumerate(text):
        depth += character in "<(["
        depth -= character in ">)]"
        if depth == 0 and text.startswith(word, at):
            return at
    return -1


def _first(*names: str) -> str:
    return next(filter(None, names), "")


# --- v0 ---------------------------------------------------------------------------------------------------------------

BASIC: Dict[str, str] = {
    "a": "i8", "b": "bool", "c": "char", "d": "f64", "e": "str", "f": "f32", "h": "u8", "i": "isize", "j": "usize", "l": "i32",
    "m": "u32", "n": "i128", "o": "u128", "s": "i16", "t": "u16", "u": "", "v": "", "x": "i64", "y": "u64", "z": "", "p": "",
}


class _V0:
    """https://doc.rust-lang.org/rustc/symbol-mangling/v0.html"""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def path(self) -> str:
        tag = self.next()
        if tag == "C":
            return self.identifier()
        if tag == "N":
            space = self.next()
            within = self.path()
            name = self.identifier()
            name = "{closure}" if space == "C" else name or "{shim}"
            return f"{within}::{name}"
        if tag in "MX":
            self.disambiguator()
            self.path()
        if tag in "MXY":
            of_type = self.type()
            return of_type if tag == "M" else _first(of_type, self.path())
        if tag == "I":
            path = self.path()
            while not self.take("E"):
                self.argument()
            return path
        if tag == "B":
            return self.backward(self.path)
        raise ValueError(tag)

    def type(self) -> str:
        """The name of a type that has one."""
        tag = self.text[self.at]
        if tag in BASIC:
            self.at += 1
            return BASIC[tag]
        if tag in "CNMXYI":
            return self.path()
        self.at += 1
        if tag == "B":
            return self.backward(self.type)
        if tag in "RQ" and self.take("L"):
            self.number()
        if tag == "T":
            while not self.take("E"):
                self.type()
        elif tag in "ASRQPO":
            self.type()
            if tag == "A":
                self.constant()
        elif tag == "D":
            return self.object()
        elif tag == "F":
            self.function()
        else:
            raise ValueError(tag)
        return ""

    def object(self) -> str:
        self.binder()
        first = ""
        while not self.take("E"):
            name = self.path()
            first = first or name
            while self.take("p"):
                self.identifier()
                self.type()
        if self.take("L"):
            self.number()
        return first

    def function(self) -> None:
        self.binder()
        self.take("U")
        if self.take("K") and not self.take("C"):
            self.identifier()
        while not self.take("E"):
            self.type()
        self.type()

    def argument(self) -> None:
        if self.take("L"):
            self.number()
        elif self.take("K"):
            self.constant()
        else:
            self.type()

    def constant(self) -> None:
        if self.take("p"):
            return
        if self.take("B"):
            self.backward(lambda: "")
            return
        if self.next() not in "abcehijlmnostxy":
            raise ValueError("a constant of another kind")
        self.at = self.text.index("_", self.at) + 1

    def identifier(self) -> str:
        self.disambiguator()
        if self.take("u"):
            raise ValueError("punycode")
        digits = re.compile(r"0|[1-9]\d*").match(self.text, self.at)
        if digits is None:
            raise ValueError("no identifier")
        self.at = digits.end()
        self.take("_")
        start, self.at = self.at, self.at + int(digits[0])
        return self.text[start:self.at]

    def disambiguator(self) -> None:
        if self.take("s"):
            self.number()

    def binder(self) -> None:
        if self.take("G"):
            self.number()

    def backward(self, read: Callable[[], str]) -> str:
        start = self.number()
        after, self.at = self.at, start
        name = read()
        self.at = after
        return name

    def number(self) -> int:
        """`_` is 0, `0_` 1, in base 62."""
        end = self.text.index("_", self.at)
        digits, self.at = self.text[self.at:end], end + 1
        if not digits:
            return 0
        alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        value = 0
        for digit in digits:
            value = value * 62 + alphabet.index(digit)
        return value + 1

    def next(self) -> str:
        self.at += 1
        return self.text[self.at - 1]

    def take(self, character: str) -> bool:
        found = self.text.startswith(character, self.at)
        self.at += found
        return found
