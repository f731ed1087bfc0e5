-- Tables of edgewatch, by schema version. Applied by `edgewatch check --online` and on start; {database} and {ttl} are
-- filled in from [clickhouse]. A released version is never edited: a change is a new `-- version N` section.
--
-- Rows are the very lines of the NDJSON files (times in RFC 3339: a bare number is read as seconds). ReplacingMergeTree collapses a row that was inserted again; read with FINAL.
-- `run` is '' for live rows and the run's id for a backtest. Rows stay {ttl} after they were written, not after their event
-- time, so that history replayed from years ago stays as long.
--
-- Percentiles of an hour or a day come from window_histograms: a mean of p99s is wrong, counts of buckets add up. Bucket
-- b > 0 holds the values whose float64, cut to its top 19 bits, is b - 1; -b holds their negatives, 0 is zero; a bucket is
-- shown as its middle, within 0.4 %. The view hour_percentiles is such a query, ready to use:
--
--   SELECT hour, key['ClientRequestHost'] AS host, p99 FROM edgewatch.hour_percentiles WHERE metric = 'response_time'

-- version 1
CREATE TABLE IF NOT EXISTS {database}.schema_version (
    schema UInt32,
    ttl String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = MergeTree ORDER BY (schema, applied_at);

CREATE TABLE IF NOT EXISTS {database}.window_metrics (
    run LowCardinality(String) DEFAULT '',
    window_start DateTime('UTC'),
    window_end DateTime('UTC'),
    metric LowCardinality(String),
    key Map(String, String),
    statistic LowCardinality(String),
    value Float64,
    count UInt64,
    method LowCardinality(String),
    labels Map(String, String),
    config_version LowCardinality(String) DEFAULT '',
    inserted_at DateTime('UTC') DEFAULT now(),
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window_start)
ORDER BY (run, metric, statistic, window_start, window_end, toJSONString(key))
TTL inserted_at + {ttl};

CREATE TABLE IF NOT EXISTS {database}.window_histograms (
    run LowCardinality(String) DEFAULT '',
    window_start DateTime('UTC'),
    window_end DateTime('UTC'),
    metric LowCardinality(String),
    key Map(String, String),
    buckets Array(Int32),
    counts Array(UInt64),
    config_version LowCardinality(String) DEFAULT '',
    inserted_at DateTime('UTC') DEFAULT now(),
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window_start)
ORDER BY (run, metric, window_start, window_end, toJSONString(key))
TTL inserted_at + {ttl};

CREATE TABLE IF NOT EXISTS {database}.exemplars (
    run LowCardinality(String) DEFAULT '',
    window_start DateTime('UTC'),
    window_end DateTime('UTC'),
    metric LowCardinality(String),
    key Map(String, String),
    reason LowCardinality(String),
    value Nullable(Float64),
    event_time DateTime64(3, 'UTC'),
    ray_id Nullable(String),
    `partition` String,
    `offset` Int64,
    `index` Int64,
    config_version LowCardinality(String) DEFAULT '',
    inserted_at DateTime('UTC') DEFAULT now(),
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window_start)
ORDER BY (run, metric, window_start, window_end, toJSONString(key), reason, `partition`, `offset`, `index`)
TTL inserted_at + {ttl};

CREATE TABLE IF NOT EXISTS {database}.evaluations (
    run LowCardinality(String) DEFAULT '',
    window_end DateTime('UTC'),
    rule LowCardinality(String),
    key Map(String, String),
    metric LowCardinality(String),
    statistic LowCardinality(String),
    value Nullable(Float64),
    count UInt64,
    level LowCardinality(String),
    state_before LowCardinality(String),
    state_after LowCardinality(String),
    severity LowCardinality(Nullable(String)),
    suppressed_by LowCardinality(Nullable(String)),
    config_version LowCardinality(String) DEFAULT '',
    inserted_at DateTime('UTC') DEFAULT now(),
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(window_end)
ORDER BY (run, rule, window_end, toJSONString(key))
TTL inserted_at + {ttl};

CREATE TABLE IF NOT EXISTS {database}.transitions (
    run LowCardinality(String) DEFAULT '',
    at DateTime('UTC'),
    rule LowCardinality(String),
    key Map(String, String),
    fingerprint String,
    episode String,
    `from` LowCardinality(String),
    `to` LowCardinality(String),
    severity LowCardinality(Nullable(String)),
    reason LowCardinality(String),
    config_version LowCardinality(String) DEFAULT '',
    inserted_at DateTime('UTC') DEFAULT now(),
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(at)
ORDER BY (run, rule, at, fingerprint, reason)
TTL inserted_at + {ttl};

CREATE TABLE IF NOT EXISTS {database}.notifications (
    run LowCardinality(String) DEFAULT '',
    at DateTime('UTC'),
    id String,
    rule LowCardinality(String),
    key Map(String, String),
    fingerprint String,
    episode String,
    dedup_key String,
    status LowCardinality(String),
    severity LowCardinality(String),
    reason LowCardinality(String),
    channels Array(LowCardinality(String)),
    `group` Nullable(String),
    title String,
    text String,
    value Nullable(Float64),
    threshold Nullable(Float64),
    labels Map(String, String),
    evidence String,
    config_version LowCardinality(String) DEFAULT '',
    inserted_at DateTime('UTC') DEFAULT now(),
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(at)
ORDER BY (run, rule, at, id)
TTL inserted_at + {ttl};

CREATE TABLE IF NOT EXISTS {database}.pipeline_events (
    run LowCardinality(String) DEFAULT '',
    at DateTime64(3, 'UTC'),
    event LowCardinality(String),
    dataset LowCardinality(String) DEFAULT '',
    topic LowCardinality(String) DEFAULT '',
    `partition` String DEFAULT '',
    value Nullable(Float64),
    text String DEFAULT '',
    labels Map(String, String),
    config_version LowCardinality(String) DEFAULT '',
    inserted_at DateTime('UTC') DEFAULT now(),
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(at)
ORDER BY (run, event, at, dataset, topic, `partition`, toJSONString(labels))
TTL inserted_at + {ttl};

CREATE TABLE IF NOT EXISTS {database}.dead_letters (
    run LowCardinality(String) DEFAULT '',
    dataset LowCardinality(String),
    topic String,
    `partition` String,
    `offset` Int64,
    `index` Int64,
    reason String,
    payload String,
    config_version LowCardinality(String) DEFAULT '',
    inserted_at DateTime('UTC') DEFAULT now(),
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3))
) ENGINE = ReplacingMergeTree(version)
ORDER BY (run, dataset, topic, `partition`, `offset`, `index`)
TTL inserted_at + {ttl};

CREATE TABLE IF NOT EXISTS {database}.health_checks (
    run LowCardinality(String) DEFAULT '',
    at DateTime64(3, 'UTC'),
    target String,
    region LowCardinality(String) DEFAULT '',
    status LowCardinality(String),
    status_code UInt16 DEFAULT 0,
    duration_ms Nullable(Float64),
    error String DEFAULT '',
    labels Map(String, String),
    config_version LowCardinality(String) DEFAULT '',
    inserted_at DateTime('UTC') DEFAULT now(),
    version UInt64 DEFAULT toUnixTimestamp64Milli(now64(3))
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(at)
ORDER BY (run, target, at, region)
TTL inserted_at + {ttl};

CREATE VIEW IF NOT EXISTS {database}.hour_percentiles AS
SELECT
    run,
    toStartOfHour(window_start) AS hour,
    metric,
    key,
    sum(n) AS count,
    quantileExactWeighted(0.5)(value, n) AS p50,
    quantileExactWeighted(0.9)(value, n) AS p90,
    quantileExactWeighted(0.95)(value, n) AS p95,
    quantileExactWeighted(0.99)(value, n) AS p99,
    quantileExactWeighted(0.999)(value, n) AS p999
FROM (
    SELECT
        run,
        window_start,
        metric,
        key,
        n,
        sign(bucket) * if(bucket = 0, 0., reinterpretAsFloat64(
            bitShiftLeft(toInt64(abs(bucket)) - 1, 45) + bitShiftLeft(toInt64(1), 44))) AS value
    FROM {database}.window_histograms FINAL
    ARRAY JOIN buckets AS bucket, counts AS n
)
GROUP BY run, hour, metric, key;

-- version 2
ALTER TABLE {database}.exemplars ADD COLUMN IF NOT EXISTS trace_id String DEFAULT '' AFTER ray_id;
