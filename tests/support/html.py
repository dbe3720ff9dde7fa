"""The structure and the texts of HTML, to compare documents and to detect injected elements."""

from html.parser import HTMLParser


class Html(HTMLParser):
    def __init__(self, document: str) -> None:
        super().__init__()
        self.structure: list[tuple[str, tuple[str, ...]]] = []
        """Each start tag, with the names of its attributes."""
        self.texts: list[str] = []
        """The text nodes without surrounding white space, except empty ones."""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.structure.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        if text := " ".join(data.split()):
            self.texts.append(text)
