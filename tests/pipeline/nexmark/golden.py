"""The answers to the queries, by DuckDB, of a file of events: how `answers.json` and `erased.json` were made.

    golden.py EVENTS.jsonl.gz SQL_FOLDER > answers.json
    golden.py EVENTS.jsonl.gz SQL_FOLDER erase.txt > erased.json

The second without the events of some persons: those who register, sell or bid.

Of each query the number of rows and the MD5 of the answer's text: a line for each row, fields joined by commas, sorted bytewise.
"""
import hashlib
import json
import pathlib
import sys

import duckdb

events, folder = sys.argv[1], pathlib.Path(sys.argv[2])
db = duckdb.connect()
db.execute(f"CREATE TABLE event AS SELECT * FROM read_json('{events}', format='newline_delimited', sample_size=-1)")
erased = ",".join(pathlib.Path(sys.argv[3]).read_text().split()) if len(sys.argv) > 3 else "NULL"
for kind, subject in [("person", "id"), ("auction", "seller"), ("bid", "bidder")]:
    stays = f"type = '{kind}' AND ({subject} IN ({erased})) IS NOT TRUE"
    db.execute(f"CREATE VIEW {kind} AS SELECT * EXCLUDE type FROM event WHERE {stays}")
db.execute("CREATE TABLE side_input AS SELECT range AS key, 'side-' || range AS value FROM range(0, 10000, 3)")
answers = {}
for path in sorted(folder.glob("q*.sql")):
    rows = db.execute(path.read_text()).fetchall()
    lines = sorted(",".join("" if field is None else str(field) for field in row).encode() + b"\n" for row in rows)
    answers[path.stem] = {"rows": len(lines), "md5": hashlib.md5(b"".join(lines)).hexdigest()}
json.dump(answers, sys.stdout, indent=1)
print()
