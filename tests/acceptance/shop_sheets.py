"""Thirty tables as shops, price lists and people's own workbooks have them, made after the systems' public lists of columns.

Each has what makes its kind hard: variants without an image of their own, rows that only add an image, descriptions of several
lines of HTML, a hundred columns, lines above the header, subtotals, decimal commas, other encodings and separators. The values
are invented. `A`, `B`, `C` are product images and `T`, `U` textures that lie beside the table; links are never fetched.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from openpyxl import Workbook

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

A, B, C = "bilder/stuhl.jpg", "bilder/sofa.jpg", "bilder/becher.jpg"
T, U = "stoffe/leinen.jpg", "stoffe/eiche.jpg"
CDN = "https://cdn.shop.example/products/"
HTML = '<p>A "quiet" chair,\nmade of oak; 45 x 45 cm.</p>\n<ul><li>Oiled</li>\n<li>With felt pads</li></ul>'
ALL_ROWS = ("--image-2", T, "--prompt", "Cover it with the fabric")
"""What a person adds to a table of products: the texture and the prompt for all of them."""
PROMPT = ("--prompt", "Cover it with the fabric")


@dataclass(frozen=True)
class ShopSheet:
    """A table: `rows` under `header`, after the lines `above` it; `more` is what a person adds besides the line to paste.

    Of its rows `good` can be sent and `bad` cannot. `sheets` are other sheets of its workbook, before it.
    """

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    good: int
    bad: int = 0
    suffix: str = ".csv"
    separator: str = ","
    encoding: str = "utf-8"
    above: Sequence[Sequence[object]] = ()
    more: Sequence[str] = ()
    sheets: Sequence[tuple[str, Sequence[Sequence[object]]]] = field(default=())

    def write(self, folder: Path) -> Path:
        """Write the table into a folder, as its program would; return its path."""
        path = folder / f"{self.name}{self.suffix}"
        lines = [*self.above, self.header, *self.rows]
        if self.suffix == ".xlsx":
            book = Workbook()
            book.remove(book.active)
            for title, others in (*self.sheets, ("Artikel", lines)):
                sheet = book.create_sheet(title)
                for line in others:
                    sheet.append(list(line))
            book.save(path)
            return path
        text = io.StringIO()
        csv.writer(text, delimiter=self.separator, lineterminator="\r\n").writerows(lines)
        path.write_bytes(text.getvalue().encode(self.encoding))
        return path


def wide(
    names: Sequence[str], values: Sequence[Sequence[object]], columns: int
) -> tuple[list[str], list[list[object]]]:
    """Return a table of so many columns: further attributes, mostly empty, as feeds and templates have them."""
    more = [f"bullet_point{number}" for number in range(1, columns - len(names) + 1)]
    return [*names, *more], [[*line, *("" for _ in more)] for line in values]


SHOPIFY = (
    "Handle", "Title", "Body (HTML)", "Vendor", "Product Category", "Type", "Tags", "Published", "Option1 Name", "Option1 Value",
    "Variant SKU", "Variant Grams", "Variant Inventory Qty", "Variant Price", "Variant Barcode", "Image Src", "Image Position",
    "Image Alt Text", "Gift Card", "SEO Title", "Variant Image", "Status",
)  # fmt: skip

WOO = (
    "ID", "Type", "SKU", "Name", "Published", "Is featured?", "Visibility in catalog", "Short description", "Description",
    "Tax status", "In stock?", "Stock", "Weight (kg)", "Regular price", "Categories", "Tags", "Images", "Parent", "Position",
    "Attribute 1 name", "Attribute 1 value(s)", "Meta: _custom",
)  # fmt: skip

MAGENTO = (
    "sku", "store_view_code", "attribute_set_code", "product_type", "categories", "product_websites", "name", "description",
    "price", "url_key", "meta_title", "base_image", "base_image_label", "small_image", "thumbnail_image", "swatch_image",
    "additional_images", "qty", "is_in_stock",
)  # fmt: skip

AMAZON, AMAZON_ROWS = wide(
    ("item_sku", "item_name", "external_product_id", "external_product_id_type", "brand_name", "standard_price", "quantity",
     "main_image_url", "other_image_url1", "other_image_url2", "swatch_image_url", "parent_child", "color_name"),
    [["CH-1", "Chair", "4006381333931", "EAN", "Nordlys", 129.9, 4, f"{CDN}a.jpg", f"{CDN}a2.jpg", "", "", "parent", "Oak"],
     ["CH-2", "Chair", "4006381333948", "EAN", "Nordlys", 139.9, 2, f"{CDN}b.jpg", "", "", "", "child", "Ash"]],
    100,
)  # fmt: skip

SHEETS = (
    ShopSheet(
        "own_in_words",
        ("SKU", "Image 1", "Image 2", "Prompt", "Preis", "Bezeichnung"),
        [["000017", A, T, "Beziehe den Stuhl mit Leinen", "129,90", "Stuhl groß"], ["000018", B, U, "In Eiche", "899,00", "Sofa"]],
        good=2, separator=";", encoding="utf-8-sig",
    ),
    ShopSheet(
        "own_shouting", ("IMAGE-1", "IMAGE-2", "PROMPT", "Aspect Ratio", "Season"), [[A, T, "Linen", "1:1", "SS27"]], good=1,
    ),
    ShopSheet(
        "own_german", ("Artikelnummer", "Produktbild", "Stoffbild", "Anweisung", "Farbe"),
        [["A-1", A, T, "Beziehe ihn mit Leinen", "natur"], ["A-2", B, U, "In Eiche", "hell"]], good=2, separator=";", encoding="utf-16",
    ),
    ShopSheet(
        "own_french", ("Référence", "Image produit", "Image tissu", "Consigne"), [["R1", A, T, "En lin"], ["R2", C, U, "En chêne"]],
        good=2, separator=";",
    ),
    ShopSheet(
        "own_spanish", ("Código", "Imagen del producto", "Textura", "Instrucción"), [["C1", A, T, "En lino"]], good=1, separator=";",
    ),
    ShopSheet(
        "own_italian", ("Codice", "Immagine prodotto", "Tessuto", "Istruzione"), [["K1", B, T, "In lino"]], good=1, separator=";",
    ),
    ShopSheet(
        "own_dutch", ("Artikelnummer", "Productfoto", "Stof", "Opdracht"), [["N1", A, T, "In linnen"]], good=1, separator=";",
    ),
    ShopSheet(
        "own_polish", ("Indeks", "Zdjęcie produktu", "Tekstura", "Polecenie"), [["P1", A, T, "Len"]], good=1, separator=";",
    ),
    ShopSheet(
        "notes_first", ("SKU", "Image 1", "Image 2", "Prompt", "Preis"), [["000021", A, T, "Leinen", 129.9], ["000022", B, U, "Eiche", 899]],
        good=2, suffix=".xlsx", sheets=[("Hinweise", [["Bitte nur das Blatt Artikel ausfüllen."], ["Stand", "März"]])],
        above=[["Herbstkollektion 2026"], []],
    ),
    ShopSheet(
        "subtotals", ("SKU", "Image 1", "Image 2", "Prompt", "Preis"),
        [["S-1", A, T, "Leinen", 120], ["S-2", B, T, "Leinen", 80], ["Zwischensumme", "", "", "", 200], ["S-3", C, U, "Eiche", 20],
         ["Summe", "", "", "", 220]],
        good=3, bad=2, suffix=".xlsx", above=[["Preisliste"], ["gültig ab", "1.9.2026"]],
    ),
    ShopSheet(
        "price_list", ("Art.-Nr.", "Bezeichnung", "VPE", "EK netto", "VK brutto"),
        [["100-1", "Stuhl", 1, 64.5, 129.9], ["100-2", "Sofa", 1, 410, 899]], good=0, suffix=".xlsx", above=[["Preisliste Herbst"], []],
    ),
    ShopSheet(
        "hyperlinked_names", ("id", "Foto", "Swatch", "Prompt"), [["f-1", f"{CDN}1.jpg", f"{CDN}t.jpg", "Linen"]], good=1, suffix=".xlsx",
    ),
    ShopSheet(
        "shopify", SHOPIFY,
        [["oak-chair", "Oak chair", HTML, "Nordlys", "Furniture", "Chair", "oak, chair", "TRUE", "Color", "Oak", "OC-1", 4500, 3, 129.9,
          "'4006381333931", f"{CDN}oak-1.jpg?v=1", 1, "Oak", "FALSE", "", f"{CDN}oak-1.jpg?v=1", "active"],
         ["oak-chair", "", "", "", "", "", "", "", "", "Black", "OC-2", 4500, 1, 139.9, "", "", "", "", "", "", f"{CDN}oak-2.jpg", ""],
         ["oak-chair", "", "", "", "", "", "", "", "", "", "", "", "", "", "", f"{CDN}oak-3.jpg", 2, "Side", "", "", "", ""],
         ["sofa", "Sofa", HTML, "Nordlys", "Furniture", "Sofa", "", "TRUE", "Title", "Default Title", "SO-1", 42000, 1, 899,
          "", f"{CDN}sofa.jpg", 1, "", "FALSE", "", "", "active"]],
        good=3, bad=1, more=ALL_ROWS,
    ),
    ShopSheet(
        "woocommerce", WOO,
        [[101, "simple", "WC-1", "Chair", 1, 0, "visible", "A chair", HTML, "taxable", 1, 3, 4.5, "129.90", "Chairs", "", f"{CDN}1.jpg", "",
          0, "Color", "Oak", ""],
         [102, "variable", "WC-2", "Sofa", 1, 1, "visible", "", "", "taxable", 1, "", 42, "", "Sofas", "", f"{CDN}2.jpg, {CDN}3.jpg", "", 0,
          "Color", "Grey, Blue", ""],
         [103, "variation", "WC-2-G", "Sofa - Grey", 1, 0, "visible", "", "", "taxable", 1, 2, 42, "899", "", "", f"{CDN}2.jpg", "WC-2", 1,
          "Color", "Grey", ""]],
        good=2, bad=1, more=ALL_ROWS,
    ),
    ShopSheet(
        "magento", MAGENTO,
        [["MG-1", "", "Default", "simple", "Default Category/Chairs", "base", "Chair", HTML, "129.90", "chair", "", f"{CDN}m1.jpg", "", f"{CDN}m1.jpg",
          f"{CDN}m1.jpg", "", "", 3, 1],
         ["MG-2", "", "Default", "simple", "Default Category/Sofas", "base", "Sofa", "", "899", "sofa", "", f"{CDN}m2.jpg", "", "", "", "", "", 1, 1]],
        good=2, more=ALL_ROWS,
    ),
    ShopSheet(
        "shopware",
        ("id", "parent_id", "product_number", "active", "stock", "name", "description", "price_net", "price_gross", "tax_id",
         "cover_media_id", "cover_media_url", "manufacturer_name", "categories"),
        [["0a1", "", "SW-1", 1, 3, "Stuhl", HTML, 109.16, 129.9, "t19", "m1", f"{CDN}s1.jpg", "Nordlys", "Stühle"],
         ["0a2", "0a1", "SW-1.1", 1, 3, "Stuhl", "", 109.16, 129.9, "t19", "m2", f"{CDN}s2.jpg", "Nordlys", "Stühle"]],
        good=2, separator=";", more=ALL_ROWS,
    ),
    ShopSheet(
        "prestashop",
        ("Product ID", "Active (0/1)", "Name *", "Categories (x,y,z...)", "Price tax excluded", "Tax rules ID", "Reference #", "EAN13",
         "Quantity", "Summary", "Description", "Image URLs (x,y,z...)", "Image alt texts (x,y,z...)"),
        [[1, 1, "Chaise", "Chaises", "108,25", 1, "PS-1", "", 3, "Une chaise", HTML, f"{CDN}p1.jpg", ""],
         [2, 1, "Canapé", "Canapés", "749,17", 1, "PS-2", "", 1, "", "", f"{CDN}p2.jpg", ""]],
        good=2, separator=";", more=ALL_ROWS,
    ),
    ShopSheet(
        "bigcommerce",
        ("Item Type", "Product ID", "Product Name", "Product Code/SKU", "Brand Name", "Product Description", "Price", "Product Image ID - 1",
         "Product Image File - 1", "Product Image Description - 1", "Product Image Is Thumbnail - 1"),
        [["Product", 7, "Chair", "BC-1", "Nordlys", HTML, 129.9, 1, f"{CDN}b1.jpg", "", "Y"],
         ["  SKU", 7, "[S]Color=Black", "BC-1-B", "", "", 139.9, "", "", "", ""]],
        good=1, bad=1, more=ALL_ROWS,
    ),
    ShopSheet(
        "google_merchant",
        ("id", "title", "description", "link", "image link", "additional image link", "availability", "price", "brand", "gtin", "material"),
        [["GM-1", "Chair", "A chair", "https://shop.example/chair", f"{CDN}g1.jpg", "", "in stock", "129.90 EUR", "Nordlys", "4006381333931", "oak"],
         ["GM-2", "Sofa", "A sofa", "https://shop.example/sofa", f"{CDN}g2.jpg", "", "in stock", "899.00 EUR", "Nordlys", "", "linen"]],
        good=2, suffix=".tsv", separator="\t", more=ALL_ROWS,
    ),
    ShopSheet(
        "meta_catalog",
        ("id", "title", "description", "availability", "condition", "price", "link", "image_link", "brand", "fb_product_category"),
        [["FB-1", "Chair", "A chair", "in stock", "new", "129.90 EUR", "https://shop.example/1", f"{CDN}f1.jpg", "Nordlys", "furniture"]],
        good=1, more=ALL_ROWS,
    ),
    ShopSheet(
        "amazon_flat_file", AMAZON, AMAZON_ROWS, good=2, suffix=".tsv", separator="\t", more=ALL_ROWS,
        above=[["TemplateType=fptcustom", "Version=2026.0101", "TemplateSignature=RlVSTklUVVJF"]],
    ),
    ShopSheet(
        "etsy",
        ("TITLE", "DESCRIPTION", "PRICE", "CURRENCY_CODE", "QUANTITY", "TAGS", "MATERIALS", "IMAGE1", "IMAGE2", "IMAGE3", "VARIATION 1 TYPE", "SKU"),
        [["Chair", "A chair", 129.9, "EUR", 3, "chair,oak", "oak", f"{CDN}e1.jpg", f"{CDN}e1b.jpg", "", "", "ET-1"],
         ["Sofa", "A sofa", 899, "EUR", 1, "sofa", "linen", f"{CDN}e2.jpg", f"{CDN}e2b.jpg", "", "", "ET-2"]],
        good=2, more=PROMPT,
    ),
    ShopSheet(
        "ebay",
        ("*Action(SiteID=Germany|Country=DE|Currency=EUR|Version=1193)", "Custom label (SKU)", "Category ID", "Title", "P:UPC", "Price", "Quantity",
         "Item photo URL", "Condition ID", "Description", "Format"),
        [["Add", "EB-1", 54235, "Chair", "", 129.9, 3, f"{CDN}x1.jpg", 1000, "A chair", "FixedPrice"]],
        good=1, more=ALL_ROWS,
    ),
    ShopSheet(
        "wix",
        ("handleId", "fieldType", "name", "description", "productImageUrl", "collection", "sku", "ribbon", "price", "surcharge", "visible",
         "inventory", "productOptionName1", "productOptionDescription1"),
        [["product_1", "Product", "Chair", HTML, f"{CDN}w1.jpg", "Chairs", "WX-1", "", 129.9, "", "true", "InStock", "Color", "Oak;Black"],
         ["product_1", "Variant", "", "", "", "", "WX-1-B", "", "", 10, "true", 3, "", "Black"]],
        good=1, bad=1, more=ALL_ROWS,
    ),
    ShopSheet(
        "squarespace",
        ("Product ID [Non Editable]", "Variant ID [Non Editable]", "Product Type [Non Editable]", "Product Page", "Product URL", "Title", "Description",
         "SKU", "Option Name 1", "Option Value 1", "Price", "Stock", "Categories", "Visible", "Hosted Image URLs"),
        [["p1", "v1", "PHYSICAL", "shop", "chair", "Chair", HTML, "SQ1", "Color", "Oak", 129.9, 3, "/chairs", "Yes", f"{CDN}q1.jpg"]],
        good=1, more=ALL_ROWS,
    ),
    ShopSheet(
        "opencart",
        ("product_id", "name(en-gb)", "categories", "sku", "model", "quantity", "manufacturer", "image_name", "price", "description(en-gb)", "status"),
        [[42, "Chair", "20", "OC-42", "Chair 42", 3, "Nordlys", A, 129.9, HTML, "true"], [43, "Sofa", "21", "OC-43", "Sofa 43", 1, "Nordlys", B, 899, "", "true"]],
        good=2, suffix=".xlsx", more=ALL_ROWS,
    ),
    ShopSheet(
        "jtl",
        ("Artikelnummer", "GTIN", "Artikelname", "Beschreibung", "Std. VK Brutto", "Lagerbestand", "Hersteller", "Bild 1 Pfad/URL", "Bild 2 Pfad/URL", "Merkmalwert 1"),
        [["JT-0001", "4006381333931", "Stuhl", HTML, "129,90", 3, "Nordlys", A, T, "Eiche"], ["JT-0002", "", "Sofa", "", "899,00", 1, "Nordlys", B, U, "Leinen"]],
        good=2, separator=";", more=PROMPT,
    ),
    ShopSheet(
        "plenty",
        ("Variation.number", "Item.id", "ItemDescription.name1", "ItemImage.url", "VariationSalesPrice.price", "Variation.isActive"),
        [["PL-1", 900, "Stuhl", f"{CDN}l1.jpg", "129,90", 1], ["PL-2", 901, "Sofa", f"{CDN}l2.jpg", "899,00", 1]],
        good=2, separator=";", more=ALL_ROWS,
    ),
    ShopSheet(
        "akeneo",
        ("sku", "categories", "enabled", "family", "groups", "name-en_US", "description-en_US-ecommerce", "price-EUR", "picture", "swatch", "color"),
        [["AK-1", "chairs", 1, "chair", "", "Chair", HTML, 129.9, A, T, "oak"], ["AK-2", "sofas", 1, "sofa", "", "Sofa", "", 899, B, U, "linen"]],
        good=2, separator=";", more=PROMPT,
    ),
    ShopSheet(
        "odoo",
        ("External ID", "Internal Reference", "Name", "Sales Price", "Cost", "Image URL", "Product Category", "Can be Sold"),
        [["__export__.product_1", "OD-1", "Chair", 129.9, 60, f"{CDN}o1.jpg", "All / Chairs", "TRUE"]],
        good=1, suffix=".xlsx", more=ALL_ROWS,
    ),
    ShopSheet(
        "airtable",
        ("Name", "Product photo", "Texture photo", "Prompt", "Status", "Assignee"),
        [["Chair in linen", A, T, "Cover it with linen", "Ready", "Ana"], ["Mug in oak", C, U, "Make it oak", "Ready", ""]],
        good=2, encoding="utf-8-sig",
    ),
    ShopSheet(
        "google_sheets",
        ("sku", "image 1", "image 2", "prompt", "note"), [["0007", A, T, "Linen, please", ""], ["0008", B, U, "Oak", 'wide 5"']], good=2,
    ),
)  # fmt: skip
