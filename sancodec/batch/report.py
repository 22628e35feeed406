"""Tables of what a batch did: CSV, and Parquet where pyarrow is there."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sancodec.batch.finished import Finished
from sancodec.batch.journal import State
from sancodec.batch.page import plain_text, write_page
from sancodec.batch.run import Tally
from sancodec.batch.tasks import Job
from sancodec.new_files import new_file


@dataclass(frozen=True, slots=True)
class Row:
    """One channel of a recording, or a file that failed; the fields are those of the tables.

    Parameters
    ----------
    stored_ratio, file_ratio
        Compression ratios of the whole recording: against the bits of its samples, and against its files.
    prdn_percent, max_error_adu
        In stored integer units.
    """

    source: str
    target: str
    error: str
    kind: str
    duration_s: float | None = None
    input_bytes: int | None = None
    container_bytes: int | None = None
    stored_ratio: float | None = None
    file_ratio: float | None = None
    seconds: float | None = None
    channel: str = ""
    unit: str = ""
    sampling_rate_hz: float | None = None
    promise: str = ""
    prdn_percent: float | None = None
    max_error_adu: int | None = None
    max_error: float | None = None


def rows_of(records: list[Finished], failures: list[tuple[str, str]]) -> list[Row]:
    """One row per channel, then one per failure."""
    rows = []
    for each in records:
        assert each.record is not None
        for channel in each.record.channels:
            rows.append(
                Row(
                    plain_text(each.source),
                    plain_text(each.target),
                    "",
                    each.record.kind,
                    each.record.duration_s,
                    each.input_bytes,
                    each.n_bytes,
                    each.stored_ratio,
                    each.file_ratio,
                    each.seconds,
                    channel.name,
                    channel.unit,
                    channel.sampling_rate_hz,
                    channel.promise,
                    channel.prdn,
                    channel.max_error_adu,
                    channel.max_error,
                )
            )
    return rows + [Row(plain_text(path), "", plain_text(reason), "") for path, reason in failures]


def write_reports(folder: Path, state: State, tally: Tally, job: Job) -> list[Path]:
    """Write ``report.html``, ``report.csv`` and, where pyarrow is there, ``report.parquet`` into a folder.

    Raises
    ------
    SancodecError
        When they cannot be written.
    """
    records = state.records()
    rows = rows_of(records, tally.failures)
    page, table, parquet = (folder / f"report.{suffix}" for suffix in ("html", "csv", "parquet"))
    write_page(page, records, tally, job)
    with new_file(table, force=True) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text)
        writer.writerow(Row.__dataclass_fields__)
        writer.writerows([_cell(getattr(row, name)) for name in Row.__dataclass_fields__] for row in rows)
        text.detach()
    written = [page, table]
    if _write_parquet(parquet, rows):
        written.append(parquet)
    return written


def _cell(value: Any) -> Any:
    return "" if value is None else value


def _write_parquet(path: Path, rows: list[Row]) -> bool:
    """False without pyarrow; a report of an earlier run is removed then."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        path.unlink(missing_ok=True)
        return False
    kinds = {"str": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64()}
    fields = {name: kinds[str(field.type).split(" ")[0]] for name, field in Row.__dataclass_fields__.items()}
    columns = {name: [getattr(row, name) for row in rows] for name in fields}
    table = pyarrow.table(columns, schema=pyarrow.schema(list(fields.items())))
    with new_file(path, force=True) as file:
        parquet.write_table(table, file)
    return True
