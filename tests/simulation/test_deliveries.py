"""Messages arrive, late or never, and conversion differs as it does in practice."""

from __future__ import annotations

import pandas as pd
import pytest
from support.simulated import Simulated

from toolkit.api.return_codes import ReturnCode
from toolkit.simulation.prefixes import MARKET_SHARES

S = 1_000_000_000


@pytest.fixture(scope="module")
def receipts(simulated: Simulated) -> pd.DataFrame:
    """The receipts, with the seconds until each one."""
    found = pd.concat(map(pd.read_parquet, sorted(simulated.folder.glob("receipts-*.parquet"))), ignore_index=True)
    return found.assign(after_s=(found["received_ns"] - found["sent_ns"]) / S)


@pytest.fixture(scope="module")
def messages(simulated: Simulated, receipts: pd.DataFrame) -> pd.DataFrame:
    """The accepted sends with their receipts, and whether each one was verified."""
    calls = simulated.calls[simulated.calls["return_code"].eq(ReturnCode.SUCCESS).fillna(False)]
    verified = calls.loc[calls["endpoint"] == "verify", "msg_id"]
    sent = calls[calls["endpoint"] == "send"]
    sent = sent.assign(verified=sent["msg_id"].isin(verified), quiet=simulated.quietly()[sent.index])
    carriers = {it: carrier_of(it) for it in sent["prefix"].unique()}
    sent = sent.assign(of_carrier=sent["prefix"].map(carriers).astype(str))
    return sent.merge(receipts, "left", on="msg_id")


def carrier_of(prefix: str) -> str:
    from phonenumbers import carrier, parse

    return str(carrier.name_for_number(parse(f"+86{prefix}0000"), "en"))


# Receipts.


def test_nearly_every_accepted_send_has_one_receipt(messages: pd.DataFrame, receipts: pd.DataFrame) -> None:
    assert receipts["msg_id"].is_unique
    assert receipts["msg_id"].isin(messages["msg_id"]).all()
    assert 0.001 < messages["state"].isna().mean() < 0.01
    told = messages.dropna(subset="state")
    assert (told["carrier"] == told["of_carrier"]).all()
    assert (told["sent_ns"] == told["started_ns"]).all()
    assert (told["after_s"] > 0).all()


def test_the_state_of_a_receipt_follows_from_its_carrier_code(receipts: pd.DataFrame) -> None:
    assert ((receipts["state"] == "delivered") == (receipts["carrier_code"] == "DELIVRD")).all()
    assert set(receipts["carrier_code"]) == {"DELIVRD", "EXPIRED", "UNDELIV", "MK:0001", "REJECTD", "IB:0008"}


def test_most_messages_arrive_within_seconds_and_a_few_after_minutes(messages: pd.DataFrame) -> None:
    after_s = messages.loc[messages["quiet"] & (messages["state"] == "delivered"), "after_s"]
    assert 3 < after_s.median() < 8
    assert after_s.quantile(0.95) < 30
    assert 0.008 < after_s.between(60, 304).mean() < 0.03
    assert after_s.max() < 320


def test_nobody_verifies_a_message_before_it_has_arrived(simulated: Simulated, messages: pd.DataFrame) -> None:
    told = messages.dropna(subset="state").set_index("msg_id")
    calls = simulated.calls[(simulated.calls["endpoint"] == "verify") & simulated.calls["msg_id"].isin(told.index)]
    guessed = simulated.during("brute_force")[calls.index]
    of = told.loc[calls["msg_id"]]
    assert (of["state"].eq("delivered").to_numpy() | guessed.to_numpy()).all()
    longest_report_ns = 3 * S
    assert (calls["started_ns"].to_numpy() > of["received_ns"].to_numpy() - longest_report_ns)[~guessed].all()


# Conversion.


def test_conversion_differs_by_carrier_template_and_hour(messages: pd.DataFrame) -> None:
    quiet = messages[messages["quiet"]]
    by_carrier = quiet.groupby("of_carrier")["verified"].mean()
    assert list(by_carrier.sort_values().index) == ["China Unicom", "China Telecom", "China Mobile"]
    by_template = quiet.groupby("temp_id")["verified"].mean()
    assert by_template[3] > by_template[1] > by_template[5] > by_template[2] > 0.65
    hours = quiet["started"].dt.tz_convert("Asia/Shanghai").dt.hour
    assert quiet["verified"][hours.between(2, 5)].mean() < quiet["verified"][hours.between(9, 21)].mean() - 0.04


def test_a_notice_template_does_not_convert(messages: pd.DataFrame) -> None:
    notices = messages[messages["temp_id"] == 4]
    assert len(notices) > 1_000
    assert not notices["verified"].any()


# Incidents.


@pytest.mark.parametrize(("kind", "most_ratio"), [("carrier_queue", 0.7), ("carrier_loss", 0.4)])
def test_an_incident_of_a_carrier_lowers_its_conversion_and_no_other(
    simulated: Simulated, messages: pd.DataFrame, kind: str, most_ratio: float
) -> None:
    label = simulated.label(kind)
    during = messages["started"].between(pd.Timestamp(label["started"]), pd.Timestamp(label["ended"]))
    usual = messages[messages["quiet"]].groupby("of_carrier")["verified"].mean()
    then = messages[during].groupby("of_carrier")["verified"].mean()
    for carrier in MARKET_SHARES:
        if carrier == label["carrier"]:
            assert then[carrier] < most_ratio * usual[carrier]
        else:
            assert abs(then[carrier] - usual[carrier]) < 0.1


def test_a_queueing_carrier_delivers_after_minutes_and_a_losing_one_seldom(
    simulated: Simulated, messages: pd.DataFrame
) -> None:
    for kind, hit in (("carrier_queue", messages["after_s"] > 60), ("carrier_loss", messages["state"] == "failed")):
        label = simulated.label(kind)
        during = messages["started"].between(pd.Timestamp(label["started"]), pd.Timestamp(label["ended"]))
        of_carrier = hit[during & (messages["of_carrier"] == label["carrier"])]
        (ratio,) = label["changed"].values()
        assert abs(of_carrier.mean() - ratio) < 0.08
        assert 0.8 * label["calls"] <= of_carrier.sum() <= 1.2 * label["calls"]
    assert simulated.label("carrier_loss")["calls"] == (messages["carrier_code"] == "IB:0008").sum()


def test_people_whose_message_is_lost_send_again_more_often(simulated: Simulated, messages: pd.DataFrame) -> None:
    label = simulated.label("carrier_loss")
    during = messages["started"].between(pd.Timestamp(label["started"]), pd.Timestamp(label["ended"]))
    of_carrier = messages["of_carrier"] == label["carrier"]
    again = messages.groupby("mobile_key")["started_ns"].diff() < 180 * S
    assert again[during & of_carrier].mean() > 1.5 * again[during & ~of_carrier].mean()
