CREATE TABLE marker (name text PRIMARY KEY, value text NOT NULL);
CREATE TABLE reading (id bigserial PRIMARY KEY, sensor integer NOT NULL, value double precision NOT NULL);
