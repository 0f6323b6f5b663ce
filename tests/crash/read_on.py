"""Reads a Delta table again and again, with four engines, until its standard input ends: `read_on.py FOLDER`.

Each round opens the newest version, and reads it and the one that was opened a round ago. Before that it prints {"since": milliseconds}:
nothing that was needed then may go before the next such line. After it {"version", "reader", "rows", "epoch"} for each reading: how many
rows there were, and their newest epoch. What cannot be read ends the program with an error.
"""
import json
import sys
import threading
import time

import duckdb
import polars as pl
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder

ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()


class Opened:
    """A version, as each engine has opened it."""

    def __init__(self, folder):
        self.since = round(time.time() * 1000)
        table = DeltaTable(folder)
        self.version = table.version()
        self.dataset = table.to_pyarrow_dataset()
        self.lazy = pl.scan_delta(table)
        self.query = QueryBuilder().register("t", table)

    def read(self):
        epochs = pc.struct_field(self.dataset.to_table(["_origin"])["_origin"], "epoch")
        yield "pyarrow", len(epochs), pc.max(epochs).as_py()
        yield "DuckDB", *duckdb.from_arrow(self.dataset).aggregate("COUNT(*), MAX(_origin.epoch)").fetchall()[0]
        rows, epoch = self.lazy.select(pl.len(), pl.col("_origin").struct.field("epoch").max().alias("epoch")).collect().row(0)
        yield "polars", rows, epoch
        answer = self.query.execute("SELECT COUNT(*) AS rows, MAX(_origin['epoch']) AS epoch FROM t").read_all()
        yield "delta-rs", answer["rows"][0].as_py(), answer["epoch"][0].as_py()


before = Opened(sys.argv[1])
while not ended.is_set():
    print(json.dumps({"since": before.since}), flush=True)
    now = Opened(sys.argv[1])
    for opened in (before, now):
        for reader, rows, epoch in opened.read():
            print(json.dumps({"version": opened.version, "reader": reader, "rows": rows, "epoch": epoch}), flush=True)
    before = now
