"""Durations and moments on the command line mean what they say, or are refused."""

import pytest

from dynmm_core.quantities import format_duration, format_time, parse_duration_ms, parse_time_ms


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [("0", 0), (0, 0), ("5m", 300_000), ("1h30m", 5_400_000), ("24h", 86_400_000), ("90s", 90_000), ("7d", 604_800_000)],
)
def test_a_duration_is_a_number_with_a_unit(text: str | int, duration_ms: int) -> None:
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize("text", ["15", "", "m", "-5m", "1.5h", "1 h", "5m5m", "5min", True, 15])
def test_anything_else_is_refused_with_an_example(text: str | int) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration_ms(text)


@pytest.mark.parametrize("duration_ms", [0, 1_500, 60_000, 300_000, 5_400_000, 86_400_000, 90_000_000])
def test_a_printed_duration_reads_as_itself(duration_ms: int) -> None:
    text = format_duration(duration_ms).replace(" ", "").replace("1.5s", "1500ms").replace("0s", "0")
    assert parse_duration_ms(text) == duration_ms


@pytest.mark.parametrize(
    "text", ["2017-10-05T18:00:00Z", "2017-10-05T18:00:00", "2017-10-05 18:00", "2017-10-05T20:00:00+02:00", "1507226400000"]
)
def test_a_time_without_offset_is_utc(text: str) -> None:
    assert parse_time_ms(text) == 1_507_226_400_000
    assert format_time(parse_time_ms(text)) == "2017-10-05T18:00:00Z"


@pytest.mark.parametrize(("text", "told"), [("1507226400", "like seconds"), ("soon", "is no time"), ("20171005", "seconds")])
def test_an_unclear_time_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_time_ms(text)
