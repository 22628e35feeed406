"""Promises from options: conversions, presets, and which channels are ECG leads."""

from __future__ import annotations

import math

import pytest

from sancodec.codec.promise import PRESETS, ErrorBound, Promise, is_ecg_lead, promises_for
from sancodec.codec.recording import Channel
from sancodec.errors import InvalidSignalError

LEAD = Channel("MLII", unit="mV", gain=200.0)
EEG = Channel("EEG Fp1-Ref", unit="uV", gain=10.0)
ARRAY = Channel("0")


@pytest.mark.parametrize(
    ("text", "adu"),
    [
        ("4adu", 4),
        ("4", 4),
        ("4.9 ADU", 4),
        ("0", 0),
        ("20uV", 4),
        ("20 µV", 4),
        ("20 \u03bcV", 4),
        ("0.02mV", 4),
        ("2e-5V", 4),
        ("20000 nV", 4),
        ("24.999uv", 4),
        ("25uV", 5),
        ("4.99uV", 0),
        (".02 MV", 4),
        ("1000V", 1 << 20),
    ],
)
def test_a_bound_becomes_whole_stored_units(text: str, adu: int) -> None:
    assert promises_for([LEAD], max_error=text) == (Promise(max_error_adu=adu),)


@pytest.mark.parametrize("gain", [0.1 * 3, 1 / 3 * 0.9, -0.3])
def test_binary_fractions_do_not_cost_a_unit(gain: float) -> None:
    assert promises_for([Channel("ECG", unit="uV", gain=gain)], max_error="20uV")[0].max_error_adu == 6


@pytest.mark.parametrize("unit", ["V", "mV", "uV", "µV", "\u03bcV", "nV", "MV", "UV", "mv"])
def test_every_spelling_of_volts_is_known(unit: str) -> None:
    assert ErrorBound.parse("1V").in_adu(Channel("a", unit=unit, gain=1e-9)) >= 0


@pytest.mark.parametrize("text", ["-1", "-20uV", "nan", "inf", "20 mmHg", "uV", "", "1e5000", "4 adu adu", "1_0"])
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(InvalidSignalError, match="largest error"):
        promises_for([LEAD], max_error=text)


def test_a_bound_in_volts_means_nothing_for_a_channel_in_another_unit() -> None:
    with pytest.raises(InvalidSignalError, match=r"channel 'ABP' is in 'mmHg'.*--max-error 4adu"):
        promises_for([LEAD, Channel("ABP", unit="mmHg")], max_error="20uV")


def test_a_bound_above_the_largest_is_refused() -> None:
    with pytest.raises(InvalidSignalError, match="at most 1048576 adu"):
        promises_for([LEAD], max_error="1048577adu")


def test_nothing_given_is_clinical() -> None:
    assert promises_for([LEAD, EEG, ARRAY]) == promises_for([LEAD, EEG, ARRAY], preset="clinical")
    assert promises_for([LEAD, EEG, ARRAY]) == (Promise(max_error_adu=4), Promise(prdn=2.0), Promise(prdn=2.0))


def test_presets() -> None:
    channels = [LEAD, EEG]
    assert promises_for(channels, preset="archive") == (Promise(max_error_adu=0),) * 2
    assert promises_for(channels, preset="monitor") == (Promise(prdn=5.0),) * 2
    assert promises_for(channels, preset="trend") == (Promise(prdn=9.0),) * 2
    assert promises_for(channels, lossless=True) == (Promise(max_error_adu=0),) * 2


def test_of_several_options_all_hold() -> None:
    assert promises_for([LEAD], prdn=5.0, snr_db=40.0, max_error="10adu") == (Promise(prdn=1.0, max_error_adu=10),)
    assert promises_for([LEAD], prdn=0.5, preset="monitor") == (Promise(prdn=0.5),)
    assert promises_for([LEAD, EEG], prdn=5.0, preset="clinical") == (
        Promise(prdn=5.0, max_error_adu=4),
        Promise(prdn=2.0),
    )
    assert promises_for([LEAD], max_error="20uV", max_error_adu=3) == (Promise(max_error_adu=3),)
    assert promises_for([LEAD], lossless=True, max_error="3adu") == (Promise(max_error_adu=0),)


@pytest.mark.parametrize("prdn", [0.0, -1.0, math.nan, math.inf, 9e-7, 1.1e6])
def test_percentages_out_of_range_are_refused(prdn: float) -> None:
    with pytest.raises(InvalidSignalError, match="PRDN"):
        promises_for([LEAD], prdn=prdn, preset="monitor")


@pytest.mark.parametrize("snr_db", [math.nan, math.inf, -math.inf, 161.0])
def test_ratios_out_of_range_are_refused(snr_db: float) -> None:
    with pytest.raises(InvalidSignalError, match="dB"):
        promises_for([LEAD], snr_db=snr_db)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidSignalError, match="archive, clinical, monitor, trend"):
        promises_for([LEAD], preset="best")


def test_a_promise_promises_something() -> None:
    with pytest.raises(InvalidSignalError, match="nothing is promised"):
        Promise()
    with pytest.raises(InvalidSignalError, match="0 to 1048576"):
        Promise(max_error_adu=-1)


def test_promises_are_written_as_tables_show_them() -> None:
    assert str(Promise(prdn=2.0)) == "≤ 2 %"
    assert str(Promise(max_error_adu=4)) == "≤ 4 adu"
    assert str(Promise(prdn=0.5, max_error_adu=4)) == "≤ 0.5 %, ≤ 4 adu"
    assert str(Promise(prdn=0.5, max_error_adu=0)) == "exact"
    assert str(PRESETS["clinical"]) == "ECG leads: error of any sample at most 20 µV; other channels: PRDN 2 %"


LEADS = (
    "I,II,III,aVR,aVL,aVF,avr,AVF,V,V1,V6,V9,V3R,V9R,VX,VY,VZ,vx,i,ii,iii,MLI,MLII,MLIII,ML2,MV1,MV2,MCL,"
    "MCL1,mod.V1,CM2,CM4,CM5,CC5,CS12,ECG,EKG,ECG1,ECG2,ECG_1,D3,D4,V1-V2,A-S,A-I,E-S,II+,ECG-II,ekg1,"
    "lead II,Lead V2,ECG lead,ECG lead II,EKG II,ECG 1,ECG I,ECG V1,ECG ch1,ECG (V5),mod. V1,MCL1 ,"
    "ECG1-ECG2"
)
OTHERS = (
    "Fp1,FP2,F7,C3,C4,Cz,C1,CP5,CPz,A1,A2,M1,M2,T3,T4,P3,P4-O2,Fp2-F4,C4-A1,O1,Pz,I1,I2,FC5,AF3,EOG,EMG,"
    "RESP,Resp,PLETH,Pleth,ABP,ART,CVP,PAP,CO2,UC,FHR,HR,HRV,FECG,EEG,marker,voice,D1,D12,DC1,IV,ch1,"
    "SpO2,BP,IR,VEOG,IC1,Angle,EEG Fp1-Ref,EEG C3-A2,EEG Fpz-Cz,Resp. Imp.,foot GSR,sig 0, fmt 8,col 1,"
    "sine 8 Hz,EOG left,EMG chin,,Resp chest"
)


@pytest.mark.parametrize("name", LEADS.split(","))
def test_names_of_leads_are_known(name: str) -> None:
    assert is_ecg_lead(Channel(name, unit="mV"), n_channels=2)
    assert not is_ecg_lead(Channel(name, unit="NU"), n_channels=2)


@pytest.mark.parametrize("name", OTHERS.split(","))
def test_names_of_other_signals_are_no_leads(name: str) -> None:
    assert not is_ecg_lead(Channel(name, unit="uV"), n_channels=2)


def test_electrodes_of_a_large_cap_are_no_leads() -> None:
    assert not is_ecg_lead(Channel("D3", unit="uV"), n_channels=128)
