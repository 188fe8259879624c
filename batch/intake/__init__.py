"""The intake: a manifest file in, checked payloads out. Nothing here prints, reads the environment or a network.

The modules, in the order a row meets them:

    manifest                                         open a file by its suffix
    text · records · table · header                  a CSV: encoding, lines, cells, names
    values · lines · parquet                         JSONL and Parquet: typed values as a CSV has them
    streamed                                         what CSV, JSONL and Parquet have in common: read as a stream
    workbook · sheet_scan                            .xlsx: what Excel shows, and what its shape hides
    document · findings · axis · matrix · listing    a YAML: tree, problems, globs, combinations, rows
    own                                              texbatch's own reports, read back
    columns · spelling                               which column is what, and what it was meant to be
    base                                             what holds for all rows: defaults, overrides
    expand                                           rows to payloads: read this first
    template · typed · pictures · identity · names   the parts of one row
    job · variables                                  a job file: a manifest and options of run, ${NAME} filled in

Importing this package loads no pandas, pydantic, PyYAML, openpyxl, pyarrow or Pillow: they load with the first file.
"""

from batch.intake.expand import expand
from batch.intake.job import JobFile, is_job_file, read_job_file
from batch.intake.manifest import Manifest, open_manifest, own_columns
from batch.intake.names import PREVIOUS, fold_name
from batch.intake.pictures import LoadedPicture, PictureCache, PictureError, load_picture

__all__ = [
    "PREVIOUS",
    "JobFile",
    "LoadedPicture",
    "Manifest",
    "PictureCache",
    "PictureError",
    "expand",
    "fold_name",
    "is_job_file",
    "load_picture",
    "open_manifest",
    "own_columns",
    "read_job_file",
]
