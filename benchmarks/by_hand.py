"""Answer the questions of the analysis with hand-written DuckDB SQL, polars and pandas, from a folder of calls.

An outcome has the kind of the response too: ``"is_valid": false`` is a verdict whatever the return code. ``over_time``
and ``latency`` group by ``bucket_ns``. ``errors`` gives examples of calls that have a request id. ``cost`` returns
messages, money and conversion by day, app, template and carrier, with the messages that were sent again within five
minutes.
"""

from decimal import Decimal
from itertools import product
from pathlib import Path

MINUTE_NS, HOUR_NS, DAY_NS, SOON_NS = 60 * 10**9, 3_600 * 10**9, 86_400 * 10**9, 300 * 10**9
AT = [0.5, 0.9, 0.95, 0.99, 0.999]
FREE = (50001, 50002, 50003, 50004, 50005, 50006, 50007, 50008, 50009, 50013, 50014, 50015, 50016, 50017, 50018)


def bucket_ns(folder):
    """Return the width of a time bucket: as many minutes as there are months."""
    return MINUTE_NS * max(1, len(list(Path(folder).glob("calls*.parquet"))) // 30)


# DuckDB.


def duckdb_return_codes(folder):
    return _sql(
        folder, "SELECT endpoint, http_status, return_code, kind, error, count(*) FROM calls GROUP BY ALL ORDER BY ALL"
    )


def duckdb_over_time(folder):
    bucket = f"started_ns - started_ns % {bucket_ns(folder)}"
    return _sql(
        folder,
        f"SELECT {bucket} AS bucket, endpoint, return_code, kind, error, count(*) FROM calls GROUP BY ALL ORDER BY ALL",
    )


def duckdb_latency(folder):
    return _sql(
        folder,
        f"""SELECT started_ns - started_ns % {bucket_ns(folder)} AS bucket, endpoint, count(*),
            quantile_cont(latency_ns, {AT}), avg(latency_ns), max(latency_ns),
            quantile_cont(latency_ns + wait_ns, {AT}), avg(latency_ns + wait_ns), max(latency_ns + wait_ns)
        FROM calls GROUP BY ALL ORDER BY ALL""",
    )


def duckdb_errors(folder):
    return _sql(
        folder,
        f"""WITH sent AS (SELECT msg_key, mobile_key FROM calls WHERE endpoint = 'send' AND return_code = 50000),
        failed AS (SELECT * FROM calls WHERE return_code IS DISTINCT FROM 50000),
        hours AS (
            SELECT endpoint, http_status, return_code, kind, error, started_ns - started_ns % {HOUR_NS} AS hour,
                count(*) AS n
            FROM failed GROUP BY ALL),
        busiest AS (
            SELECT endpoint, http_status, return_code, kind, error, arg_max(hour, n) AS busiest, max(n) AS busiest_calls
            FROM hours GROUP BY ALL),
        all_calls AS (SELECT endpoint, count(*) AS of_all FROM calls GROUP BY ALL),
        found AS (
            SELECT endpoint, http_status, return_code, kind, error, count(*) AS n, min(started_ns), max(started_ns),
                count(DISTINCT coalesce(failed.mobile_key, sent.mobile_key)),
                arg_min(request_id, started_ns), arg_max(request_id, started_ns), arg_max(request_id, latency_ns)
            FROM failed LEFT JOIN sent ON failed.endpoint = 'verify' AND failed.msg_key = sent.msg_key GROUP BY ALL)
        SELECT *, n / of_all AS share FROM found JOIN all_calls USING (endpoint) JOIN busiest
            ON found.endpoint = busiest.endpoint AND found.http_status IS NOT DISTINCT FROM busiest.http_status
            AND found.return_code IS NOT DISTINCT FROM busiest.return_code
            AND found.kind IS NOT DISTINCT FROM busiest.kind
            AND found.error IS NOT DISTINCT FROM busiest.error ORDER BY ALL""",
    )


def duckdb_cost(folder):
    prices, carriers = _prices(folder), _carriers(_sql(folder, "SELECT DISTINCT prefix FROM calls")["prefix"])
    return _sql(
        folder,
        f"""WITH sends AS (
            SELECT *, started_ns - started_ns % {DAY_NS} AS day FROM calls WHERE endpoint = 'send'),
        accepted AS (
            SELECT *, started_ns - lag(started_ns) OVER earlier AS after_ns
            FROM sends WHERE return_code = 50000
            WINDOW earlier AS (PARTITION BY app_key, mobile_key ORDER BY started_ns)),
        rights AS (SELECT DISTINCT msg_key FROM calls WHERE endpoint = 'verify' AND return_code = 50000),
        traced AS (
            SELECT day, app_key, temp_id, carrier, segments, after_ns <= {SOON_NS} AS resent,
                rights.msg_key IS NOT NULL AS verified, mobile_key, segments * per_segment AS money
            FROM accepted LEFT JOIN carriers USING (prefix) LEFT JOIN rights USING (msg_key)
            LEFT JOIN prices USING (day, temp_id, carrier)),
        costs AS (
            SELECT day, app_key, temp_id, carrier, count(*) AS accepted, sum(segments) AS segments, sum(money) AS money,
                count(*) FILTER (verified) AS verified, count(*) FILTER (NOT verified) AS wasted,
                sum(money) FILTER (NOT verified) AS wasted_money, count(*) FILTER (resent) AS resent,
                sum(money) FILTER (resent) AS resent_money,
                count(DISTINCT mobile_key) FILTER (verified) AS users
            FROM traced GROUP BY ALL),
        others AS (
            SELECT day, app_key, temp_id, carrier,
                count(*) FILTER (return_code IN {FREE} OR error = 'connect') AS refused, count(*) AS others
            FROM sends LEFT JOIN carriers USING (prefix) WHERE return_code IS DISTINCT FROM 50000 GROUP BY ALL)
        SELECT * FROM costs FULL JOIN others USING (day, app_key, temp_id, carrier) ORDER BY ALL""",
        prices=prices,
        carriers=carriers,
    )


def _sql(folder, query, **tables):
    import duckdb

    connection = duckdb.connect()
    for name, table in tables.items():
        connection.register(name, table)
    connection.sql(f"CREATE VIEW calls AS SELECT * FROM read_parquet('{folder}/calls*.parquet')")
    return connection.sql(query).df()


# polars.


def polars_return_codes(folder):
    import polars as pl

    by = ["endpoint", "http_status", "return_code", "kind", "error"]
    return _scan(folder).group_by(by).agg(pl.len()).sort(by).collect(engine="streaming")


def polars_over_time(folder):
    import polars as pl

    by = ["bucket", "endpoint", "return_code", "kind", "error"]
    bucket = pl.col("started_ns") - pl.col("started_ns") % bucket_ns(folder)
    return _scan(folder).with_columns(bucket=bucket).group_by(by).agg(pl.len()).sort(by).collect(engine="streaming")


def polars_latency(folder):
    import polars as pl

    by, caller = ["bucket", "endpoint"], pl.col("latency_ns") + pl.col("wait_ns")
    times = {"server": pl.col("latency_ns"), "caller": caller}
    found = [time.quantile(at, "linear").alias(f"{name} {at}") for name, time in times.items() for at in AT]
    found += [time.mean().alias(f"{name} mean") for name, time in times.items()]
    found += [time.max().alias(f"{name} max") for name, time in times.items()]
    bucket = pl.col("started_ns") - pl.col("started_ns") % bucket_ns(folder)
    return _scan(folder).with_columns(bucket=bucket).group_by(by).agg(pl.len(), *found).sort(by).collect()


def polars_errors(folder):
    import polars as pl

    calls, by = _scan(folder), ["endpoint", "http_status", "return_code", "kind", "error"]
    sent = calls.filter(pl.col("endpoint") == "send", pl.col("return_code") == 50000).select("msg_key", "mobile_key")
    failed = calls.filter(pl.col("return_code").ne_missing(50000)).join(sent, on="msg_key", how="left")
    has_id = pl.col("request_id").is_not_null()
    by_start = pl.col("request_id").filter(has_id).sort_by(pl.col("started_ns").filter(has_id))
    by_latency = pl.col("request_id").filter(has_id).sort_by(pl.col("latency_ns").filter(has_id))
    hours = failed.group_by([*by, pl.col("started_ns") // HOUR_NS]).agg(busiest_calls=pl.len())
    busiest = hours.sort("busiest_calls", descending=True).group_by(by).first()
    of_all = calls.group_by("endpoint").agg(of_all=pl.len())
    return (
        failed.group_by(by)
        .agg(
            pl.len(),
            pl.col("started_ns").min().alias("from"),
            pl.col("started_ns").max().alias("until"),
            pl.coalesce("mobile_key", "mobile_key_right").drop_nulls().n_unique().alias("mobiles"),
            by_start.first().alias("first"),
            by_start.last().alias("last"),
            by_latency.last().alias("slowest"),
        )
        .join(of_all, on="endpoint")
        .join(busiest, on=by, nulls_equal=True)
        .with_columns(share=pl.col("len") / pl.col("of_all"))
        .sort(by)
        .collect()
    )


def polars_cost(folder):
    import polars as pl

    calls, by = _scan(folder), ["day", "app_key", "temp_id", "carrier"]
    prices = pl.from_pandas(_prices(folder)).with_columns(pl.col("per_segment").cast(pl.Decimal(18, 6))).lazy()
    prefixes = calls.select(pl.col("prefix").unique()).collect()["prefix"]
    carriers = pl.from_pandas(_carriers(prefixes.cast(pl.String).to_list())).lazy()
    sends = calls.filter(pl.col("endpoint") == "send").with_columns(
        day=pl.col("started_ns") - pl.col("started_ns") % DAY_NS, prefix=pl.col("prefix").cast(pl.String)
    )
    sends = sends.join(carriers, on="prefix", how="left")
    rights = calls.filter(pl.col("endpoint") == "verify", pl.col("return_code") == 50000).select("msg_key").unique()
    after = pl.col("started_ns").diff().over("app_key", "mobile_key", order_by="started_ns")
    accepted = (
        sends.filter(pl.col("return_code") == 50000)
        .with_columns(resent=after.fill_null(SOON_NS + 1) <= SOON_NS)
        .join(rights.with_columns(verified=True), on="msg_key", how="left")
        .join(prices, on=["day", "temp_id", "carrier"], how="left")
        .with_columns(pl.col("verified").fill_null(False), money=pl.col("segments") * pl.col("per_segment"))
    )
    money, is_wasted = pl.col("money"), ~pl.col("verified")
    costs = accepted.group_by(by).agg(
        pl.len().alias("accepted"),
        pl.col("segments").sum(),
        money.sum(),
        pl.col("verified").sum(),
        is_wasted.sum().alias("wasted"),
        money.filter(is_wasted).sum().alias("wasted_money"),
        pl.col("resent").sum(),
        money.filter(pl.col("resent")).sum().alias("resent_money"),
        pl.col("mobile_key").filter(pl.col("verified")).n_unique().alias("users"),
    )
    is_free = pl.col("return_code").is_in(FREE) | (pl.col("error") == "connect")
    refused = sends.filter(pl.col("return_code").ne_missing(50000)).group_by(by)
    others = refused.agg(is_free.sum().alias("refused"), pl.len().alias("others"))
    return costs.join(others, on=by, how="full", nulls_equal=True).collect()


def _scan(folder):
    import polars as pl

    return pl.scan_parquet(f"{folder}/calls*.parquet")


# pandas.


def pandas_return_codes(folder):
    by = ["endpoint", "http_status", "return_code", "kind", "error"]
    return _read(folder, by).groupby(by, observed=True, dropna=False).size()


def pandas_over_time(folder):
    by = ["endpoint", "return_code", "kind", "error"]
    calls = _read(folder, ["started_ns", *by])
    calls["bucket"] = calls["started_ns"] - calls["started_ns"] % bucket_ns(folder)
    return calls.groupby(["bucket", *by], observed=True, dropna=False).size()


def pandas_latency(folder):
    import pandas as pd

    calls = _read(folder, ["started_ns", "endpoint", "latency_ns", "wait_ns"])
    calls["bucket"] = calls["started_ns"] - calls["started_ns"] % bucket_ns(folder)
    calls["caller_ns"] = calls["latency_ns"] + calls["wait_ns"]
    groups = calls.groupby(["bucket", "endpoint"], observed=True)[["latency_ns", "caller_ns"]]
    return pd.concat([groups.quantile(AT).unstack(), groups.mean(), groups.max()], axis=1)


def pandas_errors(folder):
    by = ["endpoint", "http_status", "return_code", "kind", "error"]
    calls = _read(folder, [*by, "started_ns", "latency_ns", "mobile_key", "msg_key", "request_id"])
    sent = calls.loc[(calls["endpoint"] == "send") & (calls["return_code"] == 50000), ["msg_key", "mobile_key"]]
    failed = calls[calls["return_code"] != 50000].merge(sent, on="msg_key", how="left", suffixes=("", "_sent"))
    failed["mobile"] = failed["mobile_key"].fillna(failed["mobile_key_sent"])
    groups = failed.sort_values("started_ns").groupby(by, observed=True, dropna=False)
    found = groups.agg(
        calls=("started_ns", "size"),
        first=("started_ns", "min"),
        last=("started_ns", "max"),
        mobiles=("mobile", "nunique"),
        example=("request_id", "first"),
        other=("request_id", "last"),
    )
    hours = failed.groupby([*by, failed["started_ns"] // HOUR_NS], observed=True, dropna=False).size()
    found["busiest_calls"] = hours.groupby(level=by, observed=True, dropna=False).max()
    return found.reset_index().assign(of_all=lambda it: it["endpoint"].map(calls["endpoint"].value_counts()))


def pandas_cost(folder):
    import pandas as pd

    by = ["day", "app_key", "temp_id", "carrier"]
    columns = [
        "endpoint",
        "return_code",
        "error",
        "started_ns",
        "app_key",
        "temp_id",
        "prefix",
        "mobile_key",
        "msg_key",
    ]
    calls = _read(folder, [*columns, "segments"])
    sends = calls[calls["endpoint"] == "send"]
    carriers = _carriers(sends["prefix"].cat.categories).set_index("prefix")["carrier"]
    sends = sends.assign(
        day=sends["started_ns"] - sends["started_ns"] % DAY_NS, carrier=sends["prefix"].map(carriers).astype("category")
    )
    is_right = (calls["endpoint"] == "verify") & (calls["return_code"] == 50000)
    rights = set(calls.loc[is_right, "msg_key"])
    accepted = sends[sends["return_code"] == 50000].sort_values("started_ns")
    after_ns = accepted.groupby(["app_key", "mobile_key"], observed=True)["started_ns"].diff()
    accepted = accepted.assign(verified=accepted["msg_key"].isin(rights), resent=after_ns <= SOON_NS)
    prices = _prices(folder).assign(
        micros=lambda it: (it["per_segment"].astype("float64") * 1e6).round().astype("Int64")
    )
    accepted = accepted.merge(prices, on=["day", "temp_id", "carrier"], how="left")
    accepted["money"] = accepted["segments"] * accepted["micros"]
    accepted["wasted_money"] = accepted["money"].where(~accepted["verified"], 0)
    accepted["resent_money"] = accepted["money"].where(accepted["resent"], 0)
    accepted["user"] = accepted["mobile_key"].where(accepted["verified"])
    names = ["segments", "money", "wasted_money", "resent_money", "verified", "resent"]
    groups = accepted.groupby(by, observed=True, dropna=False)
    costs = pd.concat([groups[names].sum(), groups["user"].nunique(), groups.size()], axis=1)
    others = sends[sends["return_code"] != 50000].groupby(by, observed=True, dropna=False)
    return costs.join(others["return_code"].agg(lambda codes: codes.isin(FREE).sum()), how="outer")


def _read(folder, columns):

    import pandas as pd

    return pd.concat([pd.read_parquet(path, columns=columns) for path in sorted(Path(folder).glob("calls*.parquet"))])


# What prices need.


def _prices(folder):
    """Return the price of a segment for each UTC day, template and carrier of the folder's price list."""
    import tomllib
    from datetime import date, timedelta

    import pandas as pd

    given = tomllib.loads((Path(folder) / "prices.toml").read_text(encoding="utf-8"))
    days = sorted(date.fromisoformat(path.stem[6:16]) for path in Path(folder).glob("calls*.parquet"))
    every_day = [days[0] + timedelta(number) for number in range((days[-1] - days[0]).days + 1)]
    carriers = ("China Mobile", "China Telecom", "China Unicom", None)
    rows = [
        (_ns(day), template["temp_id"], carrier, _price(given["prices"], day, template["type"], carrier))
        for day, template, carrier in product(every_day, given["templates"], carriers)
    ]
    return pd.DataFrame(rows, columns=["day", "temp_id", "carrier", "per_segment"])


def _ns(day):
    from datetime import date

    return (day - date(1970, 1, 1)).days * DAY_NS


def _price(prices, day, type_, carrier):
    wanted = {"template_type": (None, type_), "carrier": (None, carrier)}
    holding = [it for it in prices if it["since"] <= day and all(it.get(name) in wanted[name] for name in wanted)]
    best = max(holding, key=lambda it: ("template_type" in it, "carrier" in it, it["since"]), default=None)
    return None if best is None else Decimal(best["per_segment"])


def _carriers(prefixes):
    import pandas as pd
    import phonenumbers
    from phonenumbers import carrier

    known = [it for it in prefixes if it is not None and it == it]
    names = [carrier.name_for_number(phonenumbers.parse(f"+86{it}0000"), "en") or None for it in known]
    return pd.DataFrame({"prefix": [str(it) for it in known], "carrier": names})
