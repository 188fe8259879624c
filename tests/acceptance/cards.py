"""The cards of an opened contact sheet, as a test finds them."""

HOSTILE = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"


def shown(page):
    """Return the ids of the cards, in order."""
    return page.locator(".card .id").all_text_contents()


def card(page, row_id):
    """Return the card of a row."""
    return page.locator(".card", has=page.get_by_text(row_id, exact=True))
