"""What delta-rs reads of Delta tables, as JSON lines: each row, and what each version of the table has shown.

    read_tables.py LANE FOLDER..

Of each folder first the rows of the newest version, {"table", "row"}; then for every version there has been {"table", "version",
"marker", "rows"}: the epoch up to which the lane LANE (`{}` stands for the table's name) says that it is, and how many rows there were.
"""
import datetime
import decimal
import json
import os
import sys

from deltalake import DeltaTable


def plain(value):
    if isinstance(value, datetime.datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, decimal.Decimal):
        return int(value)
    return str(value)


def say(**what):
    print(json.dumps(what, default=plain))


for folder in sys.argv[2:]:
    name = os.path.basename(folder.rstrip("/"))
    table = DeltaTable(folder)
    for row in table.to_pyarrow_table().to_pylist():
        say(table=name, row=row)
    for version in range(table.version() + 1):
        table.load_as_version(version)
        files = table.get_add_actions(flatten=True)
        rows = sum(count.as_py() for count in files.column("num_records")) if files.num_rows else 0
        say(table=name, version=version, marker=table.transaction_version(sys.argv[1].format(name)), rows=rows)
