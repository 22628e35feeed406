"""EDF and BDF files made byte by byte for the tests, by the tables of the EDF+ specification alone."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Signal:
    """A signal line; ``samples`` are stored integers, shape ``(record, sample)``, or bytes of each record."""

    samples: object
    label: object = "EEG Fp1"
    unit: str = "uV"
    physical: tuple = ("-3276.8", "3276.7")
    digital: tuple = ("-32768", "32767")

    @property
    def is_bytes(self):
        return isinstance(self.samples[0], bytes)


def ramp(n_records, n_samples, *, step=7, low=-500):
    """Values that differ from each other."""
    return (low + step * np.arange(n_records * n_samples)).reshape(n_records, n_samples)


def annotations(onsets, *, n_bytes=24, texts=()):
    """A signal of annotations whose data records begin at ``onsets``, in s."""
    contents = [f"+{onset}\x14\x14\0".encode() for onset in onsets]
    for record, text in texts:
        contents[record] += f"+{onsets[record]}\x14{text}\x14\0".encode()
    return Signal([content.ljust(n_bytes, b"\0") for content in contents], "EDF Annotations", "", ("-1", "1"))


def edf_file(signals, *, duration="1", reserved="", n_records=None, is_bdf=False, n_signals=None):
    """All bytes of a file."""
    width = 3 if is_bdf else 2
    n_whole = len(signals[0].samples) if signals else 0
    main = [
        (b"\xffBIOSEMI" if is_bdf else b"0", 8),
        ("MCH-0234567 F 02-MAY-1951 Haagse_Harry", 80),
        ("Startdate 02-MAR-2002 EMG561 BK/JOP Sony. MNC R Median Nerve.", 80),
        ("17.04.01", 8),
        ("11.25.00", 8),
        (str(256 * (1 + len(signals))), 8),
        (reserved, 44),
        (str(n_whole) if n_records is None else n_records, 8),
        (duration, 8),
        (str(len(signals)) if n_signals is None else n_signals, 4),
    ]
    lengths = [len(each.samples[0]) // (width if each.is_bytes else 1) for each in signals]
    columns = [
        [(each.label, 16) for each in signals],
        [("AgAgCl cup electrodes", 80)] * len(signals),
        [(each.unit, 8) for each in signals],
        [(each.physical[0], 8) for each in signals],
        [(each.physical[1], 8) for each in signals],
        [(each.digital[0], 8) for each in signals],
        [(each.digital[1], 8) for each in signals],
        [("HP:DC", 80)] * len(signals),
        [(str(length), 8) for length in lengths],
        [("", 32)] * len(signals),
    ]
    fields = [*main, *(field for column in columns for field in column)]
    content = b"".join((text if isinstance(text, bytes) else text.encode())[:size].ljust(size) for text, size in fields)
    for record in range(n_whole):
        for each in signals:
            row = each.samples[record]
            if each.is_bytes:
                content += row
            else:
                content += b"".join(int(value).to_bytes(width, "little", signed=True) for value in row)
    return content
