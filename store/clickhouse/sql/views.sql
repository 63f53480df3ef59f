-- Views for people. They are replaced at every start whose text differs from
-- the last, so a change here needs no numbered migration.

-- One row per request. Copies that another source also saw are left out (they
-- are in events, flag shadowed).
CREATE OR REPLACE VIEW {{.DB}}.requests{{.OnCluster}} AS
SELECT
    time, id, source, node, site, client_ip, client_port, client_asn, country, tls_version, sni, ja4, protocol, method, host, path,
    if(e.route = '', e.learned_route, e.route) AS route,
    query_keys, status, request_bytes, response_bytes, duration_us, user_agent, accept_language, referer_host, content_type,
    {{hex "e.header_order"}} AS header_order,
    {{hex "e.session"}} AS session,
    {{hex "e.account"}} AS account,
    {{hex "e.device"}} AS device,
    {{actor "e.actor"}} AS actor,
    {{hex "e.claimed"}} AS claimed,
    {{hex "e.target_account"}} AS target_account,
    {{hex "e.client"}} AS client,
    {{hex "e.client_net"}} AS client_net,
    {{hex "e.fingerprint"}} AS fingerprint,
    {{hex "e.client_fingerprint"}} AS client_fingerprint,
    {{hex "e.request_template"}} AS request_template,
    role, outcome, step, cost, objects,
    {{names "e.payload" "payload"}} AS payload,
    action, mode, verdict, workload,
    {{names "e.flags" "flags"}} AS flags,
    key_id, partition, offset, row
FROM {{.DB}}.events AS e
WHERE bitAnd(e.flags, {{flag "shadowed"}}) = 0;

-- One row per actor, over the whole retention, with its latest verdict.
CREATE OR REPLACE VIEW {{.DB}}.actors{{.OnCluster}} AS
SELECT
    a.site AS site, a.actor AS actor, a.first_seen AS first_seen, a.last_seen AS last_seen, a.requests AS requests,
    a.client_errors AS client_errors, a.failures AS failures, a.refused AS refused, a.response_bytes AS response_bytes,
    a.clients AS clients, a.sessions AS sessions, a.accounts AS accounts, a.targets AS targets, a.routes AS routes,
    v.verdicts AS verdicts, v.last_verdict AS last_verdict, v.last_action AS last_action, v.threats AS threats
FROM (
    SELECT
        h.site AS site, {{actor "h.actor"}} AS actor,
        min(h.first_seen) AS first_seen, max(h.last_seen) AS last_seen,
        sum(h.requests) AS requests, sum(h.client_errors) AS client_errors, sum(h.failures) AS failures, sum(h.refused) AS refused,
        sum(h.response_bytes) AS response_bytes,
        uniqCombinedMerge(12)(h.clients) AS clients, uniqCombinedMerge(12)(h.sessions) AS sessions,
        uniqCombinedMerge(12)(h.accounts) AS accounts, uniqCombinedMerge(12)(h.targets) AS targets,
        uniqCombinedMerge(12)(h.routes) AS routes
    FROM {{.DB}}.actors_by_hour AS h
    GROUP BY site, actor
) AS a
LEFT JOIN (
    SELECT
        r.site AS site, r.actor AS actor, count() AS verdicts, argMax(r.id, r.time) AS last_verdict,
        argMax(r.action, r.time) AS last_action, arraySort(groupUniqArrayArray(r.threats)) AS threats
    FROM {{.DB}}.verdicts AS r FINAL
    WHERE r.actor != ''
    GROUP BY site, actor
) AS v ON a.site = v.site AND a.actor = v.actor;

-- One row per session.
CREATE OR REPLACE VIEW {{.DB}}.sessions{{.OnCluster}} AS
SELECT
    e.site AS site,
    {{hex "e.session"}} AS session,
    min(e.time) AS first_seen, max(e.time) AS last_seen,
    count() AS requests,
    countIf(e.status BETWEEN 400 AND 499) AS client_errors,
    uniqCombined(12)(e.client_ip) AS clients,
    uniqCombined(12)(e.user_agent) AS user_agents,
    uniqCombined(12)(if(e.route = '', e.learned_route, e.route)) AS routes,
    arraySort(groupUniqArrayIf(16)({{hex "e.account"}}, e.account != 0)) AS accounts,
    arraySort(groupUniqArrayIf(16)({{actor "e.actor"}}, e.actor != 0)) AS actors,
    anyLast(e.user_agent) AS user_agent,
    anyLast(e.client_ip) AS client_ip,
    anyLast(e.country) AS country
FROM {{.DB}}.events AS e
WHERE e.session != 0 AND bitAnd(e.flags, {{flag "shadowed"}}) = 0
GROUP BY site, session;

-- One row per account: what was done as the account (proven), and what was
-- tried on it (claimed on a login, reset or sign-up route).
CREATE OR REPLACE VIEW {{.DB}}.accounts{{.OnCluster}} AS
SELECT
    e.site AS site,
    {{hex "key"}} AS account,
    min(e.time) AS first_seen, max(e.time) AS last_seen,
    countIf(e.account = key) AS requests,
    countIf(e.claimed = key) AS attempts,
    countIf(e.claimed = key AND e.outcome = 'failure') AS failures,
    countIf(e.claimed = key AND e.outcome = 'success') AS successes,
    uniqCombinedIf(12)(e.session, e.session != 0) AS sessions,
    uniqCombinedIf(12)(e.device, e.device != 0) AS devices,
    uniqCombined(12)(e.client_ip) AS clients,
    arraySort(groupUniqArrayIf(16)({{actor "e.actor"}}, e.actor != 0)) AS actors
FROM {{.DB}}.events AS e
ARRAY JOIN arrayFilter(k -> k != 0, arrayDistinct([e.account, e.claimed])) AS key
WHERE bitAnd(e.flags, {{flag "shadowed"}}) = 0
GROUP BY site, account;

-- What enforcement would have done where it only watches.
CREATE OR REPLACE VIEW {{.DB}}.shadow{{.OnCluster}} AS
SELECT
    time, id, site, action, proposed, verdict, revision, actor, scope, threats, reason, rule, policy, client_ip, method, host, path, route,
    query_keys, user_agent, ja4, session, account, device, target_account, role
FROM {{.DB}}.decisions FINAL
WHERE mode = 'shadow' AND proposed NOT IN ('', 'allow', 'observe');
