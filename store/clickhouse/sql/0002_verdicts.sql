-- All revisions of all verdicts; the highest revision of an id wins, so read
-- with FINAL. record is the verdict's canonical JSON, whole; the columns beside
-- it are what people filter and group by.
CREATE TABLE IF NOT EXISTS {{.DB}}.verdicts{{.OnCluster}} (
    id String,
    revision UInt32,
    sequence Int64,
    site LowCardinality(String),
    time DateTime64(9, 'UTC'),
    expires DateTime64(9, 'UTC'),
    scope LowCardinality(String),
    actor String,
    action LowCardinality(String),
    mode LowCardinality(String),
    threats Array(LowCardinality(String)),
    score Decimal(18, 3),
    confidence Decimal(18, 6),
    false_positive_bound Decimal(18, 9),
    bound LowCardinality(String),
    revoked Bool,
    maturity String,
    summary String,
    features Array(Tuple(name String, value Decimal(18, 3), expected Decimal(18, 3), bits Decimal(18, 3))),
    links Array(Tuple(`from` String, `to` String, bits Decimal(18, 3))),
    events Array(String),
    topic LowCardinality(String),
    partition Int32,
    first_offset Int64,
    last_offset Int64,
    caps Array(String),
    counterfactual String,
    baseline String,
    engine LowCardinality(String),
    policy String,
    record String CODEC(ZSTD(3)),
    inserted DateTime('UTC') DEFAULT now('UTC'),
    INDEX by_time time TYPE minmax GRANULARITY 1,
    INDEX by_actor actor TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {{.Engine "ReplacingMergeTree" "revision"}}
ORDER BY (site, id)
SETTINGS {{.Dedup}};

-- Everything an enforcer did that is not a plain allow. An enforcer may send
-- one twice; the sort key makes the copies one.
CREATE TABLE IF NOT EXISTS {{.DB}}.decisions{{.OnCluster}} (
    id String,
    time DateTime64(9, 'UTC') CODEC(Delta, LZ4),
    site LowCardinality(String),
    action LowCardinality(String),
    proposed LowCardinality(String),
    mode LowCardinality(String),
    verdict String,
    revision UInt32,
    matched Array(String),
    bind_group Int32,
    actor String,
    scope LowCardinality(String),
    threats Array(LowCardinality(String)),
    reason String,
    rule LowCardinality(String),
    policy LowCardinality(String),
    fuel Int64,
    nanoseconds Int64,
    client_ip IPv6,
    client_port UInt16,
    method LowCardinality(String),
    host LowCardinality(String),
    path String,
    route LowCardinality(String),
    query_keys LowCardinality(String),
    user_agent LowCardinality(String),
    ja4 LowCardinality(String),
    session String,
    account String,
    device String,
    target_account String,
    role LowCardinality(String),
    record String CODEC(ZSTD(3)),
    inserted DateTime('UTC') DEFAULT now('UTC') CODEC(Delta, LZ4),
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_verdict verdict TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_actor actor TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {{.Engine "ReplacingMergeTree" ""}}
PARTITION BY toYYYYMMDD(time)
ORDER BY (site, toStartOfHour(time), time, id)
SETTINGS {{.Dedup}}, ttl_only_drop_parts = 1;

-- What became of events: increases of weir's own counters since the last row.
-- counter is produced, delivered or lost; cause is set for lost only.
CREATE TABLE IF NOT EXISTS {{.DB}}.losses{{.OnCluster}} (
    time DateTime64(3, 'UTC'),
    node LowCardinality(String),
    source LowCardinality(String),
    counter LowCardinality(String),
    cause LowCardinality(String),
    count UInt64
)
ENGINE = {{.Engine "MergeTree" ""}}
PARTITION BY toYYYYMM(time)
ORDER BY (time, node, source)
SETTINGS {{.Dedup}};

-- What the engine has learned, as it was at some time: one row per learned
-- quantity (name) of a site, route or cohort (key) in one baseline version.
CREATE TABLE IF NOT EXISTS {{.DB}}.baselines{{.OnCluster}} (
    time DateTime64(9, 'UTC'),
    site LowCardinality(String),
    baseline String,
    key String,
    name LowCardinality(String),
    value Decimal(18, 3),
    observations UInt64,
    inserted DateTime('UTC') DEFAULT now('UTC')
)
ENGINE = {{.Engine "ReplacingMergeTree" "inserted"}}
ORDER BY (site, key, name, time)
SETTINGS {{.Dedup}};
