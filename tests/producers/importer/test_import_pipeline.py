"""An import through a real broker and a real worker says to the last digit what the folds say in this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from importer_kit import Kit, kit_mapping, lines

from pearlstream.broker import PartitionReader
from pearlstream.indicators import fingerprint
from pearlstream.settings import Kafka
from producers.importer import Import, fold_import, parse_mapping, resolve
from producers.importer.send import send

pytestmark = pytest.mark.slow
PATIENCE_S = 90


def indicators(kafka: Kafka) -> pl.DataFrame:
    """Everything that stands in the topic `indicators`."""
    tables = []
    for partition in range(kafka.partitions):
        reader = PartitionReader(kafka, "indicators", partition)
        tables += [pa.ipc.open_stream(record.value).read_all() for record in reader.read() if record.value]
        reader.close()
    frame = pl.from_arrow(pa.concat_tables(tables)) if tables else pl.DataFrame()
    assert isinstance(frame, pl.DataFrame)
    return frame


def test_a_worker_settles_an_import_as_the_folds_in_process_do(kit: Kit, embedded_broker: str, overlay: Path):
    kafka = Kafka(bootstrap_servers=embedded_broker, prefix=f"import.p{os.getpid()}.", partitions=2)
    rows = (f"2016-01-01 {m // 60:02d}:{m % 60:02d},d{d},{c},{m % 50}" for m in range(180) for d in (1, 2)
            for c in ("XX-A", "XX-B"))  # fmt: skip
    resolved = resolve(parse_mapping(kit_mapping(city="{city}")), kit.program.catalogue)
    with Import(resolved, kit.program) as job:
        job.prepare(kit.files({"a.csv": lines(*rows, header="t,who,city,temp")}))
        folded = fold_import(job, partitions=2).indicators
        send(job, kafka)
    assert set(folded.group_by("indicator", "city").len()["len"]) == {36}, "windows of five minutes in three hours"
    wanted = fingerprint(folded)
    settings = {
        "PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS": embedded_broker,
        "PEARLSTREAM_KAFKA__PREFIX": kafka.prefix,
        "PEARLSTREAM_KAFKA__PARTITIONS": "2",
        "PEARLSTREAM_CATALOGUE__OVERLAYS": f'["{overlay}"]',
    }
    with (kit.folder / "worker.log").open("w") as log:
        command = [sys.executable, "-m", "pearlstream.cli", "worker", "--alone"]
        worker = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log, cwd=kit.folder)
        try:
            found, until = (0, ""), time.monotonic() + PATIENCE_S
            while found != wanted and worker.poll() is None and time.monotonic() < until:
                time.sleep(1)
                said = indicators(kafka)
                found = fingerprint(said) if len(said) else found
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(30)
    assert found == wanted, (kit.folder / "worker.log").read_text()[-3000:]
