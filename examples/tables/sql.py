"""Asks the tables of a lake in SQL: `sql.py LAKE "SELECT .. FROM a_table"`. Prints each row as a line of JSON."""
import json
import os
import sys

import polars as pl

lake, query = sys.argv[1:]
tables = {name: pl.scan_delta(os.path.join(lake, name)) for name in os.listdir(lake)}
for row in pl.SQLContext(tables).execute(query, eager=True).iter_rows(named=True):
    print(json.dumps(row, default=str))
