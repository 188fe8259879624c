"""Contact sheets and images for the tests of results."""

import hashlib
import json
from html.parser import HTMLParser

import pytest
from PIL import Image

from batch.ledger.states import State
from batch.output import sheet
from batch.output.folder import OutputFolder


def unpack(packed):
    values = packed["values"]
    return [values[number] for number in packed["at"]] if "at" in packed else values


class Page(HTMLParser):
    """What a browser finds: elements, the text of the scripts, and the data."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self._inside = [], {}, None
        self.feed(text)
        self.data = json.loads(self.texts["data"])
        self.columns = {column["name"]: unpack(column) for column in self.data["columns"]}
        self.products, self.textures = unpack(self.data["products"]), unpack(self.data["textures"])

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id", tag) if tag in {"script", "style"} else None

    def handle_endtag(self, _tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside:
            self.texts[self._inside] = self.texts.get(self._inside, "") + data

    def thumb(self, row, place):
        return self.data["thumbs"][self.data["images"][row][place]]

    def href(self, row, place):
        return self.data["hrefs"][self.data["images"][row][place]]

    def note(self, row, place):
        return unpack(self.data["notes"])[self.data["images"][row][place]]


@pytest.fixture
def folder(tmp_path):
    return OutputFolder(tmp_path)


@pytest.fixture
def image(tmp_path):
    """Write images of one colour: gives the path and `sha256:<hex>` of its bytes."""

    def write(name, colour="red", size=(600, 400)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path, "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()

    return write


@pytest.fixture
def made(book, folder):
    """Write the sheet and read it back."""

    def make(within_s=None, **given):
        sheet.write_sheet(book.ledger, folder, thumbs_s=within_s, **given)
        return Page(folder.sheet.read_text(encoding="utf-8"))

    return make


@pytest.fixture
def save(book, image):
    """Bring a row to saved, with its image on disk."""

    def bring(row_id):
        _, sha256 = image(f"images/{book.row(row_id)['output']}", "blue")
        book.bring(row_id, State.SAVED, sha256=sha256.partition(":")[2])
        book.keep(row_id)

    return bring


@pytest.fixture
def local(payload, image):
    """Make payloads whose product and texture are files."""

    def make(row_id, **given):
        product, content = image("products/my chair.png", "green")
        texture, grain = image("textures/oak.png", "brown")
        return payload(
            row_id, image_1=content, image_2=grain, files={content: product, grain: texture}, **given
        )

    return make
