"""A page as a test reads it: its elements, its words, its links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urlsplit

_VOID = frozenset({"br", "col", "input", "link", "meta", "wbr"})


@dataclass
class Element:
    """One element; `children` are elements and texts."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Element]:
        """The element and all below it, in the page's order."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child

    @property
    def text(self) -> str:
        """Its words, with the blanks between them that a reader sees."""
        return " ".join(self.raw_text.split())

    @property
    def raw_text(self) -> str:
        return "".join(
            child if isinstance(child, str) else child.raw_text for child in self.children
        )

    def all(self, tag: str = "", **wanted: str) -> list[Element]:
        """Elements by tag and attributes; `class_` is one of the classes."""
        css = wanted.pop("class_", None)
        return [
            element
            for element in self
            if tag in ("", element.tag)
            and (css is None or css in element.attributes.get("class", "").split())
            and all(
                element.attributes.get(name.replace("_", "-")) == value
                for name, value in wanted.items()
            )
        ]

    def one(self, tag: str = "", **wanted: str) -> Element:
        found = self.all(tag, **wanted)
        assert len(found) == 1, f"{len(found)} of {tag} {wanted}"
        return found[0]

    @property
    def href(self) -> str:
        return self.attributes["href"]

    @property
    def id(self) -> str:
        return self.attributes.get("id", "")

    def link(self, text: str) -> str:
        """Where the link with these words, or this name, leads."""
        for element in self.all("a"):
            if text in (element.text, element.attributes.get("aria-label")):
                return element.attributes["href"]
        raise AssertionError(f"no link {text!r} in {[a.text for a in self.all('a')]}")


def query_of(url: str) -> dict[str, str]:
    """The parameters of an address."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True, errors="surrogatepass"))


def url_of(path: str, query: Mapping[str, str]) -> str:
    """The reverse: an address with these parameters."""
    return f"{path}?{urlencode(query, errors='surrogatepass')}"


def read(body: bytes) -> Element:
    """Parse a page; fails when its elements do not nest."""
    reader = _Reader()
    reader.feed(body.decode())
    reader.close()
    assert len(reader.open) == 1, f"never closed: {[element.tag for element in reader.open]}"
    return reader.open[0]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)
