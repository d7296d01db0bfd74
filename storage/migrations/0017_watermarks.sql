-- How old the newest reading is that a partition's owner has committed.

ALTER TABLE partition_reports ADD COLUMN watermark_delay_s double precision;
COMMENT ON COLUMN partition_reports.watermark_delay_s IS
    'Between the report and the largest time of a reading that this owner has committed. NULL before the first.';
