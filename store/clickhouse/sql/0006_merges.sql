-- Wider merges still: about 22 parts instead of 12, since ClickHouse lowers the
-- width with the number of parts. Each level of merges writes every row again, at
-- more than the price of its insert, and a day of inserts takes a level less.
ALTER TABLE {{.DB}}.events{{.OnCluster}} MODIFY SETTING merge_selector_base = 30;
ALTER TABLE {{.DB}}.routes_by_hour{{.OnCluster}} MODIFY SETTING merge_selector_base = 30;
ALTER TABLE {{.DB}}.actors_by_hour{{.OnCluster}} MODIFY SETTING merge_selector_base = 30;
