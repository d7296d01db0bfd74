-- A pending receipt says what was received whenever it is asked for. 0 and {} of bodies that came before this.
ALTER TABLE submissions ADD COLUMN received integer DEFAULT 0 NOT NULL, ADD COLUMN ignored_keys text[] DEFAULT '{}' NOT NULL;
