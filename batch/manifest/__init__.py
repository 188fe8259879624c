"""The manifest: a file in, checked payloads out. Nothing here prints, reads the environment or a network.

The modules, in the order a row passes them:

    manifest                                     open a file by its suffix; job or manifest
    readers/base                                 what the readers share: encoding, columns, rows as a stream
    readers/csv_reader · jsonl_reader            text files
    readers/parquet_reader                       Parquet
    readers/table_top                            where a table begins, below its titles
    readers/sheet_reader                         workbooks: which sheet, which rows, the traps of a sheet's shape
    readers/xlsx_reader · xlsx_scan · shown      .xlsx, .xlsm: what Excel shows
    readers/ods_reader                           .ods: what the sheet shows, parsed as a stream
    readers/yaml_*                               a YAML: document, globs, combinations, rows
    readers/cells                                typed values to the text that a CSV has
    readers/own_report                           texbatch's own reports, read back
    columns · problems                           which column is which; what is wrong, and what was meant
    expand                                       rows to payloads: read this first
    values · input_images · naming               the parts of one row
    job_file                                     a manifest and options of run, ${NAME} filled in

Importing these modules loads no pandas, pydantic, PyYAML, openpyxl, pyarrow or Pillow: they load with the first file.
"""
