"""What lies in the output folder: its files and their lock, the images, the reports, the contact sheet, the metrics.

folder.py         where everything is, and the lock that lets one run at a time use it
images.py         results decoded and written; where each saved image is
previous.py       earlier versions, found by name and by hash
other_formats.py  names for images that came in another format than asked
report.py         report.csv, failures.csv, summary.json, and `read_report`
sheet.py          report.html, the contact sheet: sheet.html.jinja, sheet.css, sheet.js; thumbnails.py
advice.py         what to do about rows without an image
reports.py        `texbatch report`: all of these written again
metrics.py        the figures for Prometheus
files.py          a file written whole or not at all; the images by name: exists, read, write, archive, list, delete

It sends nothing and changes no state of a job.
"""
