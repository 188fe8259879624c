"""The contact sheet for every eye and screen: names, contrast, phones, print."""

import re

import pytest
from cards import card, shown

pytestmark = pytest.mark.slow

CLICKABLE = "button, input, select, textarea, a[href], summary"


def names_missing(page):
    return page.locator(CLICKABLE).evaluate_all(
        """nodes => nodes.filter(node => node.checkVisibility() && !(node.getAttribute("aria-label")
        || node.labels?.[0]?.innerText.trim() || node.textContent.trim())).map(node => node.outerHTML)"""
    )


def test_every_control_has_a_name_and_every_id_is_unique(page):
    page.get_by_label("Reject chair-oak").check()
    page.locator("#redo summary").click()
    assert names_missing(page) == []
    card(page, "chair-denim").locator(".result").click()
    assert names_missing(page) == []
    ids = page.locator("[id]").evaluate_all("nodes => nodes.map(node => node.id)")
    assert len(ids) == len(set(ids))
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator(".card").first.get_attribute("aria-setsize") == "6"


CONTRAST = """nodes => {
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const under = node => { for (; node; node = node.parentElement) { const c = rgb(getComputedStyle(node).backgroundColor);
    if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
  return Math.min(...nodes.filter(n => n.checkVisibility()).map(n => { const a = light(rgb(getComputedStyle(n).color)), b = light(under(n));
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); })); }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(page, scheme):
    """4.5 to 1 is what WCAG 2 asks of text."""
    page.emulate_media(color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) < 384) == (scheme == "dark")
    assert (
        page.locator(
            "h1, h2, p, dt, dd, button, label, .id, .cost, .status, figcaption, code, small"
        ).evaluate_all(CONTRAST)
        >= 4.5
    )


def test_a_phone_sees_it_without_scrolling_sideways(page):
    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate("() => new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame))")
    assert (
        page.locator("#grid").evaluate("node => getComputedStyle(node).gridTemplateColumns").count(" ") == 0
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator(".result").first.click()
    assert page.locator("#close").is_visible()
    assert page.locator("#view").evaluate("node => node.scrollWidth") <= 360


def test_print_shows_every_row(page):
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(shown(page)) == 6
    assert page.locator(".tools").is_hidden()
    assert len(page.pdf()) > 10_000
