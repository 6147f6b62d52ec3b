CREATE SCHEMA flightworthy;
ALTER SCHEMA flightworthy OWNER TO flightworthy;
CREATE TABLE flightworthy.checkpoint (
    size bigint NOT NULL,
    number bigint NOT NULL,
    note bytea NOT NULL,
    seal bytea NOT NULL
);
ALTER TABLE flightworthy.checkpoint OWNER TO flightworthy;
CREATE TABLE flightworthy.event (
    id bytea NOT NULL,
    seq bigint NOT NULL
);
ALTER TABLE flightworthy.event OWNER TO flightworthy;
CREATE TABLE flightworthy.head (
    one boolean DEFAULT true NOT NULL,
    last bigint NOT NULL,
    CONSTRAINT head_one_check CHECK (one)
);
ALTER TABLE flightworthy.head OWNER TO flightworthy;
CREATE TABLE flightworthy.migration (
    number integer NOT NULL,
    name text NOT NULL,
    digest text NOT NULL,
    applied timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE flightworthy.migration OWNER TO flightworthy;
CREATE TABLE flightworthy.newest (
    kind text NOT NULL,
    key bytea NOT NULL,
    seq bigint NOT NULL
);
ALTER TABLE flightworthy.newest OWNER TO flightworthy;
CREATE TABLE flightworthy.progress (
    source text NOT NULL,
    "position" bigint NOT NULL
);
ALTER TABLE flightworthy.progress OWNER TO flightworthy;
CREATE TABLE flightworthy.quarantine (
    id bigint NOT NULL,
    block bytea NOT NULL,
    place integer NOT NULL,
    source text NOT NULL,
    "position" bigint NOT NULL,
    arrived bigint NOT NULL,
    reason text NOT NULL,
    field bytea NOT NULL,
    message bytea NOT NULL,
    raw bytea NOT NULL,
    status text DEFAULT 'held'::text NOT NULL,
    kind integer NOT NULL,
    tabular boolean NOT NULL
);
ALTER TABLE flightworthy.quarantine OWNER TO flightworthy;
ALTER TABLE flightworthy.quarantine ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME flightworthy.quarantine_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE flightworthy.segment (
    first bigint NOT NULL,
    count integer NOT NULL,
    kinds text NOT NULL,
    leaves bytea NOT NULL,
    seal bytea NOT NULL,
    body bytea NOT NULL,
    written timestamp with time zone NOT NULL
)
PARTITION BY RANGE (written);
ALTER TABLE ONLY flightworthy.segment ALTER COLUMN leaves SET STORAGE EXTERNAL;
ALTER TABLE ONLY flightworthy.segment ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE flightworthy.segment OWNER TO flightworthy;
CREATE TABLE flightworthy.subject (
    tag bytea NOT NULL,
    ref bytea NOT NULL,
    wrapped bytea NOT NULL,
    made bigint NOT NULL
);
ALTER TABLE flightworthy.subject OWNER TO flightworthy;
CREATE TABLE flightworthy.subtree (
    level integer NOT NULL,
    place bigint NOT NULL,
    hash bytea NOT NULL
);
ALTER TABLE flightworthy.subtree OWNER TO flightworthy;
ALTER TABLE ONLY flightworthy.checkpoint
    ADD CONSTRAINT checkpoint_number_key UNIQUE (number);
ALTER TABLE ONLY flightworthy.checkpoint
    ADD CONSTRAINT checkpoint_pkey PRIMARY KEY (size);
ALTER TABLE ONLY flightworthy.event
    ADD CONSTRAINT event_pkey PRIMARY KEY (id);
ALTER TABLE ONLY flightworthy.head
    ADD CONSTRAINT head_pkey PRIMARY KEY (one);
ALTER TABLE ONLY flightworthy.migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (number);
ALTER TABLE ONLY flightworthy.newest
    ADD CONSTRAINT newest_pkey PRIMARY KEY (kind, key);
ALTER TABLE ONLY flightworthy.progress
    ADD CONSTRAINT progress_pkey PRIMARY KEY (source);
ALTER TABLE ONLY flightworthy.quarantine
    ADD CONSTRAINT quarantine_block_place_key UNIQUE (block, place);
ALTER TABLE ONLY flightworthy.quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (id);
ALTER TABLE ONLY flightworthy.segment
    ADD CONSTRAINT segment_pkey PRIMARY KEY (first, written);
ALTER TABLE ONLY flightworthy.subject
    ADD CONSTRAINT subject_pkey PRIMARY KEY (tag);
ALTER TABLE ONLY flightworthy.subject
    ADD CONSTRAINT subject_ref_key UNIQUE (ref);
ALTER TABLE ONLY flightworthy.subtree
    ADD CONSTRAINT subtree_pkey PRIMARY KEY (level, place);
CREATE INDEX quarantine_by_status ON flightworthy.quarantine USING btree (status, id);
