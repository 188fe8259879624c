"""Columns that a person probably means are proposed with one line to paste, and never taken."""

import pytest

CDN = "https://cdn.example/"


@pytest.mark.parametrize(
    ("header", "line", "proposal"),
    [
        pytest.param("Handle,Title,Image Src", f"chair,Chair,{CDN}1.jpg", 'Add: --column id=Handle --column image_1="Image Src"', id="a shop's export"),
        pytest.param("Artikelnummer,Produktbild,Stoffbild,Anweisung", "A-1,a.jpg,b.jpg,In Leinen",
                     "Add: --column id=Artikelnummer --column image_1=Produktbild --column image_2=Stoffbild --column prompt=Anweisung", id="German"),
        pytest.param("prompt,swatch_image,base_image", "oak,b.png,a.png", "Add: --column image_1=base_image --column image_2=swatch_image", id="by their words"),
        pytest.param("prompt,Was,Stof", "oak,a.png,b.png", "Add: --column image_1=Was --column image_2=Stof", id="by their cells"),
        pytest.param("prompt,Foto,Material", "oak,a.png,linen", "Add: --column image_1=Foto", id="a word is no image"),
        pytest.param("image_2,Main image,Thumb image,prompt", f'b.png,"{CDN}1.jpg,{CDN}2.jpg",{CDN}3.jpg,oak', 'Add: --column image_1="Main image"', id="several links"),
    ],
)  # fmt: skip
def test_what_is_missing_is_proposed_in_one_line(read_csv, header, line, proposal):
    errors = read_csv(f"{header}\n{line}\n").errors
    assert next(error for error in errors if "Add: " in error).endswith(f". {proposal}")


def test_an_id_is_proposed_only_where_no_two_rows_share_it(read_csv):
    header, rows = "Handle,Variant SKU,Image Src", ["chair,C1,a.jpg", "chair,C2,b.jpg", "sofa,,c.jpg"]
    (error,) = [error for error in read_csv("\n".join([header, *rows])).errors if "Add: " in error]
    assert '--column id="Variant SKU" --column image_1="Image Src"' in error


@pytest.mark.parametrize(
    "text", ["sku,size\n1,2\n", "image_1,image_2,prompt,Foto\na.jpg,b.jpg,oak,c.jpg\n", "sku,Foto\n"]
)
def test_nothing_is_proposed_where_nothing_is_like_what_is_missing(read_csv, text):
    assert [error for error in read_csv(text).errors if "Add: " in error] == []


@pytest.mark.parametrize("heading", ["Quantity", "Promo", "Base", "Logo", "Image 4", "Images"])
def test_words_that_are_only_nearly_a_parameter_are_columns(read_csv, heading):
    assert read_csv(f"image_1,image_2,prompt,{heading}\n").errors == []
