CREATE INDEX items_by_state ON items (done, id);
CREATE TABLE log (item INTEGER NOT NULL, what TEXT NOT NULL);
