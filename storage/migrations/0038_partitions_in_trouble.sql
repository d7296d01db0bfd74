-- A partition that its worker has, and doesn't work on, doesn't look any more as if it were only behind.
ALTER TABLE partition_reports ADD COLUMN trouble text;
COMMENT ON COLUMN partition_reports.trouble IS 'Why the partition isn''t worked on; NULL while it is.';
