-- Roll-ups are fed by the same insert as events and deduplicated by the same
-- token, so their sums stay exact when an insert is repeated. Shadowed copies
-- (flag {{flag "shadowed"}}) are left out: they are a second look at one request.
-- They run as the user who migrated: that user must stay, or inserts stop.
CREATE TABLE IF NOT EXISTS {{.DB}}.routes_by_hour{{.OnCluster}} (
    site LowCardinality(String),
    hour DateTime('UTC'),
    method LowCardinality(String),
    route LowCardinality(String),
    role LowCardinality(String),
    requests SimpleAggregateFunction(sum, UInt64),
    client_errors SimpleAggregateFunction(sum, UInt64),
    server_errors SimpleAggregateFunction(sum, UInt64),
    failures SimpleAggregateFunction(sum, UInt64),
    refused SimpleAggregateFunction(sum, UInt64),
    request_bytes SimpleAggregateFunction(sum, UInt64),
    response_bytes SimpleAggregateFunction(sum, UInt64),
    duration_us SimpleAggregateFunction(sum, UInt64),
    duration_us_max SimpleAggregateFunction(max, UInt64),
    actors AggregateFunction(uniqCombined(12), UInt64)
)
ENGINE = {{.Engine "AggregatingMergeTree" ""}}
PARTITION BY toYYYYMM(hour)
ORDER BY (site, hour, method, route, role)
SETTINGS {{.Dedup}};

CREATE MATERIALIZED VIEW IF NOT EXISTS {{.DB}}.routes_by_hour_feed{{.OnCluster}} TO {{.DB}}.routes_by_hour
AS
SELECT
    site,
    toStartOfHour(toDateTime(time, 'UTC')) AS hour,
    method,
    if(e.route = '', learned_route, e.route) AS route,
    role,
    count() AS requests,
    countIf(status BETWEEN 400 AND 499) AS client_errors,
    countIf(status >= 500) AS server_errors,
    countIf(outcome = 'failure') AS failures,
    countIf(action NOT IN ('', 'allow', 'observe')) AS refused,
    sum(e.request_bytes) AS request_bytes,
    sum(e.response_bytes) AS response_bytes,
    sum(e.duration_us) AS duration_us,
    max(e.duration_us) AS duration_us_max,
    uniqCombinedState(12)(actor) AS actors
FROM {{.DB}}.events AS e
WHERE bitAnd(flags, {{flag "shadowed"}}) = 0
GROUP BY site, hour, method, route, role;

CREATE TABLE IF NOT EXISTS {{.DB}}.actors_by_hour{{.OnCluster}} (
    site LowCardinality(String),
    hour DateTime('UTC'),
    actor UInt64,
    requests SimpleAggregateFunction(sum, UInt64),
    client_errors SimpleAggregateFunction(sum, UInt64),
    failures SimpleAggregateFunction(sum, UInt64),
    refused SimpleAggregateFunction(sum, UInt64),
    response_bytes SimpleAggregateFunction(sum, UInt64),
    first_seen SimpleAggregateFunction(min, DateTime64(9, 'UTC')),
    last_seen SimpleAggregateFunction(max, DateTime64(9, 'UTC')),
    clients AggregateFunction(uniqCombined(12), IPv6),
    sessions AggregateFunction(uniqCombined(12), UInt64),
    accounts AggregateFunction(uniqCombined(12), UInt64),
    targets AggregateFunction(uniqCombined(12), UInt64),
    routes AggregateFunction(uniqCombined(12), String)
)
ENGINE = {{.Engine "AggregatingMergeTree" ""}}
PARTITION BY toYYYYMM(hour)
ORDER BY (site, hour, actor)
SETTINGS {{.Dedup}};

CREATE MATERIALIZED VIEW IF NOT EXISTS {{.DB}}.actors_by_hour_feed{{.OnCluster}} TO {{.DB}}.actors_by_hour
AS
SELECT
    site,
    toStartOfHour(toDateTime(time, 'UTC')) AS hour,
    actor,
    count() AS requests,
    countIf(status BETWEEN 400 AND 499) AS client_errors,
    countIf(outcome = 'failure') AS failures,
    countIf(action NOT IN ('', 'allow', 'observe')) AS refused,
    sum(e.response_bytes) AS response_bytes,
    min(time) AS first_seen,
    max(time) AS last_seen,
    uniqCombinedState(12)(client_ip) AS clients,
    uniqCombinedStateIf(12)(session, session != 0) AS sessions,
    uniqCombinedStateIf(12)(account, account != 0) AS accounts,
    uniqCombinedStateIf(12)(target_account, target_account != 0) AS targets,
    uniqCombinedState(12)(if(route = '', learned_route, route)) AS routes
FROM {{.DB}}.events AS e
WHERE bitAnd(flags, {{flag "shadowed"}}) = 0 AND actor != 0
GROUP BY site, hour, actor;
