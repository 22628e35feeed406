import io
import subprocess
import sys

import numpy as np
import pytest
from round_trips import BANKS, neutral, prdn_of, round_trip, sine

import sancodec
from sancodec.api import compress_to, shipped_models
from sancodec.errors import ModelMismatchError
from sancodec.training.lapped import SYM4, dyadic_groups


def test_an_embedded_model_needs_no_other():
    private = neutral("private", dyadic_groups(SYM4, levels=5), sampling_rate_hz=100)
    signal = sine(3000).astype(np.int16)
    content = sancodec.compress(signal, sampling_rate_hz=100, models=(private,), embed_models=True)
    assert prdn_of(signal, sancodec.decompress(content)) <= 2


def test_a_missing_model_is_named():
    private = neutral("private", dyadic_groups(SYM4, levels=5))
    content = sancodec.compress(sine(300).astype(np.int16), sampling_rate_hz=100, models=(private,))
    with pytest.raises(ModelMismatchError, match=f"{private.sha256.hex()}.*--model"):
        sancodec.decompress(content)
    with pytest.raises(ModelMismatchError):
        sancodec.decompress(content, models=BANKS)
    assert len(sancodec.decompress(content, models=(private,))) == 300


def test_every_shipped_model_codes_a_signal_alone(ecg):
    for model in shipped_models():
        content = sancodec.compress(ecg[0], sampling_rate_hz=360, models=(model,), prdn=5)
        assert prdn_of(ecg[0], sancodec.decompress(content)) <= 5


@pytest.mark.parametrize("level", [1, 3, 5, 9])
def test_the_bytes_do_not_depend_on_the_number_of_threads(long_ecg, level):
    contents = []
    for threads in (1, 2, 5):
        file = io.BytesIO()
        compress_to(long_ecg, file, sampling_rate_hz=360, prdn=5, level=level, models=BANKS, threads=threads)
        contents.append(file.getvalue())
    assert contents[0] == contents[1] == contents[2]


def test_another_process_decodes_the_same_samples(tmp_path, ecg):
    content = sancodec.compress(ecg, sampling_rate_hz=360, prdn=5, models=BANKS, embed_models=True)
    (tmp_path / "a.san").write_bytes(content)
    script = (
        "import sys, pathlib, sancodec\n"
        "sys.stdout.buffer.write(sancodec.decompress(pathlib.Path(sys.argv[1]).read_bytes()).tobytes())"
    )
    result = subprocess.run([sys.executable, "-c", script, tmp_path / "a.san"], capture_output=True, check=True)
    assert result.stdout == sancodec.decompress(content).tobytes()


def test_what_was_decoded_can_be_compressed_again(ecg):
    once = round_trip(ecg, prdn=5)
    assert np.all(prdn_of(once, round_trip(once, prdn=1)) <= 1)
