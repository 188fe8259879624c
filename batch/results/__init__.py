"""What a run leaves in its folder.

keep.py    the pictures: looked at, written whole or not at all
report.py  report.csv, failures.csv, summary.json: written in one pass from the ledger
sheet.py   report.html, the contact sheet; its page is sheet.html.jinja, sheet.css and sheet.js
thumbs.py  its thumbnails: each made once
advice.py  what to do about rows without a picture
"""
