-- An insert a second makes many small parts, and each merge of them writes its
-- rows again, at the price of an insert. A wider merge rewrites a row fewer times:
-- with 12 (the default is 5) once instead of twice within the first minute.
-- ClickHouse lowers the width for older parts by itself, so old partitions end
-- with as few parts as before.
ALTER TABLE {{.DB}}.events{{.OnCluster}} MODIFY SETTING merge_selector_base = 12;
ALTER TABLE {{.DB}}.routes_by_hour{{.OnCluster}} MODIFY SETTING merge_selector_base = 12;
ALTER TABLE {{.DB}}.actors_by_hour{{.OnCluster}} MODIFY SETTING merge_selector_base = 12;
