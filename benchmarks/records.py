"""Reading the shared records in stored integers, and the split between training and test records."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import wfdb
from quality import IntArray

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = REPOSITORY.parent / "shared" / "data"
MITDB_TEST = ("100", "105", "117", "200", "207", "217", "230", "234")
WFDB_SETS = ("mitdb", "ptb-xl", "ctu-uhb-ctgdb", "voiced")
EDF_SETS = ("eegmmidb", "eegmat")
FORMAT_BITS = {"80": 8, "212": 12, "310": 10, "311": 10, "24": 24, "32": 32}
INVALID_SAMPLE = {"80": -128, "212": -2048, "310": -512, "311": -512, "16": -(2**15), "24": -(2**23), "32": -(2**31)}


@dataclass(frozen=True, slots=True)
class Lead:
    """One channel in stored integers; ``resolution_bits`` is what compression ratios are counted against."""

    name: str
    samples: IntArray
    resolution_bits: int
    unit: str
    gain: float
    baseline: int
    n_missing: int = 0

    @property
    def stored_bits(self) -> int:
        return len(self.samples) * self.resolution_bits


@dataclass(frozen=True, slots=True)
class Record:
    name: str
    frame_rate_hz: Fraction
    leads: tuple[Lead, ...]

    @property
    def stored_bits(self) -> int:
        return sum(lead.stored_bits for lead in self.leads)


def record_paths(data: Path, *, set_name: str, split: str) -> list[Path]:
    """Return the records of one split: WFDB records without suffix, EDF files with it.

    Raises
    ------
    FileNotFoundError
        The folder of the set is absent or holds no records.
    """
    folder = data / set_name
    if set_name in EDF_SETS:
        paths = sorted(folder.glob("*.edf"))
    else:
        paths = sorted(path.with_suffix("") for path in folder.glob("*.hea"))
    if not paths:
        raise FileNotFoundError(f"no records in {folder}; give the folder of the sets with --data")
    if split == "all":
        return paths
    if set_name == "mitdb":
        test = [path for path in paths if path.name in MITDB_TEST]
    else:
        test = paths[len(paths) - max(1, len(paths) // 4) :]
    return test if split == "test" else [path for path in paths if path not in test]


def read_record(path: Path) -> Record:
    return _read_edf(path) if path.suffix == ".edf" else _read_wfdb(path)


def _read_wfdb(path: Path) -> Record:
    record = wfdb.rdrecord(str(path), physical=False, smooth_frames=False, ignore_skew=True)
    leads = []
    for index, samples in enumerate(record.e_d_signal):
        stored_format = record.fmt[index]
        missing = int((samples == INVALID_SAMPLE.get(stored_format)).sum())
        leads.append(
            Lead(
                record.sig_name[index],
                samples.astype(np.int64),
                _resolution_bits(samples, record.adc_res[index], FORMAT_BITS.get(stored_format, 16)),
                record.units[index],
                float(record.adc_gain[index]),
                int(record.baseline[index]),
                missing,
            )
        )
    return Record(path.name, Fraction(record.fs).limit_denominator(10**6), tuple(leads))


def _resolution_bits(samples: IntArray, header_bits: int | None, format_bits: int) -> int:
    """Return the header's resolution, or the width of the format where the header's does not hold the values."""
    if not header_bits or int(samples.max()) - int(samples.min()) >= 1 << header_bits:
        return format_bits
    return header_bits


def _read_edf(path: Path) -> Record:
    """Read the signals of an EDF file; annotation channels are left out."""
    content = path.read_bytes()
    n_signals = int(content[252:256])
    n_records, record_duration_s = int(content[236:244]), Fraction(content[244:252].decode("ascii").strip())
    fields: dict[str, list[str]] = {}
    offset = 256
    for field, width in (
        ("label", 16), ("transducer", 80), ("unit", 8), ("physical_min", 8), ("physical_max", 8),
        ("digital_min", 8), ("digital_max", 8), ("prefilter", 80), ("n_samples", 8), ("reserved", 32),
    ):  # fmt: skip
        end = offset + width * n_signals
        fields[field] = [content[at : at + width].decode("latin-1").strip() for at in range(offset, end, width)]
        offset = end
    per_record = [int(count) for count in fields["n_samples"]]
    table = np.frombuffer(content, "<i2", n_records * sum(per_record), offset).reshape(n_records, -1)
    leads = []
    rates = set()
    for index, label in enumerate(fields["label"]):
        if label == "EDF Annotations":
            continue
        first = sum(per_record[:index])
        physical = float(fields["physical_max"][index]) - float(fields["physical_min"][index])
        digital_min = int(fields["digital_min"][index])
        gain = (int(fields["digital_max"][index]) - digital_min) / physical
        baseline = round(digital_min - gain * float(fields["physical_min"][index]))
        samples = table[:, first : first + per_record[index]].astype(np.int64).ravel()
        leads.append(Lead(label, samples, 16, fields["unit"][index], gain, baseline))
        rates.add(per_record[index] / record_duration_s)
    if len(rates) != 1:
        raise ValueError(f"{path.name}: sampling rates are {sorted(map(float, rates))} Hz; one rate is needed here")
    return Record(path.stem, rates.pop(), tuple(leads))
