-- Since when the quantity has been learned: how much history stands behind it.
ALTER TABLE {{.DB}}.baselines{{.OnCluster}} ADD COLUMN IF NOT EXISTS since DateTime64(9, 'UTC') DEFAULT time AFTER observations;
