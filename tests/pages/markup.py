"""Whether markup keeps the rules of HTML that browsers mend in silence."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
#: Elements that only text and the like may stand in,
PHRASING = {
    *("p", "h1", "h2", "h3", "span", "b", "i", "em", "strong", "code", "bdi", "time", "sub"),
    *("button", "label", "pre", "small"),
}
#: and those that may not stand there.
BLOCKS = {
    *("address", "article", "aside", "details", "div", "dl", "fieldset", "footer", "form", "h1"),
    *("h2", "h3", "h4", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "table", "ul"),
}
INTERACTIVE = {"a", "button", "details", "input", "label", "select", "textarea"}
#: Where some elements must stand.
PARENTS = {
    "li": {"ul", "ol"},
    "dt": {"dl", "div"},
    "dd": {"dl", "div"},
    "tr": {"thead", "tbody", "tfoot"},
    "td": {"tr"},
    "th": {"tr"},
    "caption": {"table"},
    "thead": {"table"},
    "tbody": {"table"},
    "option": {"select", "optgroup", "datalist"},
    "summary": {"details"},
}
#: What may stand in some elements.
CHILDREN = {
    "ul": {"li"},
    "ol": {"li"},
    "dl": {"div", "dt", "dd"},
    "tr": {"td", "th"},
    "table": {"caption", "thead", "tbody", "tfoot", "colgroup"},
    "thead": {"tr"},
    "tbody": {"tr"},
}
#: Attributes that name other elements by their ids.
REFERENCES = ("for", "aria-labelledby", "aria-describedby", "aria-controls", "popovertarget")


class Markup(HTMLParser):
    """Reads a page; ``problems`` says what is wrong with it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self._open: list[str] = []
        self._ids: set[str] = set()
        self._named: set[str] = set()
        if not text.startswith("<!doctype html>\n"):
            self._problem("no doctype")
        self.feed(text)
        self.close()
        if self._open:
            self._problem(f"not closed: {self._open}")
        for name in self._named - self._ids:
            self._problem(f"nothing has the id {name}")

    def _problem(self, what: str) -> None:
        self.problems.append(f"line {self.getpos()[0]}: {what}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        parent = self._open[-1] if self._open else ""
        inside = f"<{tag}> in <{parent}>"
        if "svg" not in self._open:
            if tag in PARENTS and parent not in PARENTS[tag]:
                self._problem(inside)
            if parent in CHILDREN and tag not in CHILDREN[parent]:
                self._problem(inside)
            if tag in BLOCKS and PHRASING.intersection(self._open):
                self._problem(f"<{tag}> in {self._open}")
            if tag in INTERACTIVE and {"a", "button"}.intersection(self._open):
                self._problem(f"<{tag}> in {self._open}")
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self._problem(f"an attribute twice: {names}")
        for name, value in attrs:
            if name == "id":
                if not value or value in self._ids:
                    self._problem(f"the id {value!r} twice, or empty")
                self._ids.add(value or "")
            elif name in REFERENCES:
                self._named.update((value or "").split())
            elif name == "href" and value and value.startswith("#") and value != "#":
                self._named.add(value[1:])
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if "svg" not in self._open:
            self._problem(f"<{tag}/>")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self._problem(f"</{tag}> in {self._open[-3:]}")
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if data.strip() and self._open and self._open[-1] in CHILDREN:
            self._problem(f"text in <{self._open[-1]}>: {data.strip()[:20]!r}")
