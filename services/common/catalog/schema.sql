-- The catalog's schema after all migrations, to be read; `gantry migrate` applies the files in migrations/,
-- and a test compares what both make.
--
-- The table of contents: patient, study, series, instance, and what was derived from an instance.
--
-- Which value wins (docs/architecture.md): each attribute column comes from the instance with the
-- greatest ordinal (the UUIDv7 in its key) that has a value.  `source` is the ordinal of most of a row's
-- values; `older_sources` maps the keyword of every other value to its own ordinal.
--
-- An original counts with what it says even after later bytes have replaced it, so that order does not
-- matter; it counts for nothing in the numbers and sets, which are of live instances.
--
-- A row of study or series with no live instance stays and is not shown; a patient's row goes with the last
-- study that is linked to it.  Text is cut as services/common/catalog/columns.py says.

CREATE TABLE patient (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Identity.  Contradicting birth dates or sexes of one identity are kept apart, never merged;
    -- without an ID, `anonymous_study_uid` makes a patient per study.
    issuer              text COLLATE "C" NOT NULL,
    patient_id          text COLLATE "C" NOT NULL,
    anonymous_study_uid text COLLATE "C" NOT NULL,
    birth_date          text COLLATE "C" NOT NULL,
    sex                 text COLLATE "C" NOT NULL,
    -- Those of the linked studies.
    patient_name        text COLLATE "C",
    name_folded         text COLLATE "C",
    name_trigrams       text[] COLLATE "C",
    birth_time          text COLLATE "C",
    source              uuid NOT NULL,
    older_sources       jsonb,
    UNIQUE (issuer, patient_id, anonymous_study_uid, birth_date, sex)
);

CREATE TABLE study (
    id                        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient                   bigint NOT NULL REFERENCES patient,
    study_instance_uid        text COLLATE "C" NOT NULL,
    -- Who this study says it is of: its own instances' values, never another study's.
    issuer                    text COLLATE "C" NOT NULL,
    patient_id                text COLLATE "C" NOT NULL,
    patient_name              text COLLATE "C",
    name_folded               text COLLATE "C",
    name_trigrams             text[] COLLATE "C",
    birth_date                text COLLATE "C",
    birth_time                text COLLATE "C",
    sex                       text COLLATE "C",
    -- Every birth date and sex that an original of the study stated: two of either are a conflict.
    stated_birth_dates        text[] COLLATE "C" NOT NULL DEFAULT '{}',
    stated_sexes              text[] COLLATE "C" NOT NULL DEFAULT '{}',
    study_date                text COLLATE "C",
    study_time                text COLLATE "C",
    accession_number          text COLLATE "C",
    study_id                  text COLLATE "C",
    study_description         text COLLATE "C",
    referring_physician_name  text COLLATE "C",
    referring_folded          text COLLATE "C",
    source                    uuid NOT NULL,
    older_sources             jsonb,
    -- Of live series and instances; changed in the transaction that changes those.
    modalities                text[] COLLATE "C" NOT NULL DEFAULT '{}',
    sop_classes               text[] COLLATE "C" NOT NULL DEFAULT '{}',
    number_of_series          integer NOT NULL DEFAULT 0,
    number_of_instances       integer NOT NULL DEFAULT 0,
    last_received_at          timestamptz NOT NULL,
    -- What the index holds: it seldom changes, so that an update seldom touches the indexes.
    last_received_hour        timestamptz NOT NULL
        GENERATED ALWAYS AS (date_bin('1 hour', last_received_at, '2000-01-01 00:00:00+00')) STORED,
    UNIQUE (study_instance_uid, issuer, patient_id)
) WITH (fillfactor = 80);

CREATE INDEX study_of_patient ON study (patient);
CREATE INDEX study_by_patient_id ON study (patient_id);
CREATE INDEX study_by_accession_number ON study (accession_number);
CREATE INDEX study_by_date ON study (study_date DESC NULLS LAST, study_time DESC NULLS LAST, id DESC);
CREATE INDEX study_by_name ON study (name_folded);
CREATE INDEX study_by_name_part ON study USING gin (name_trigrams);
CREATE INDEX study_by_arrival ON study (last_received_hour);
CREATE INDEX patient_by_patient_id ON patient (patient_id);
CREATE INDEX patient_by_name ON patient (name_folded);
CREATE INDEX patient_by_name_part ON patient USING gin (name_trigrams);

CREATE TABLE series (
    id                         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study                      bigint NOT NULL REFERENCES study,
    series_instance_uid        text COLLATE "C" NOT NULL,
    modality                   text COLLATE "C",
    series_number              text COLLATE "C",
    series_order               bigint,
    series_description         text COLLATE "C",
    series_date                text COLLATE "C",
    series_time                text COLLATE "C",
    body_part_examined         text COLLATE "C",
    protocol_name              text COLLATE "C",
    station_name               text COLLATE "C",
    institution_name           text COLLATE "C",
    performing_physician_name  text COLLATE "C",
    performing_folded          text COLLATE "C",
    performed_date             text COLLATE "C",
    performed_time             text COLLATE "C",
    source                     uuid NOT NULL,
    older_sources              jsonb,
    sop_classes                text[] COLLATE "C" NOT NULL DEFAULT '{}',
    number_of_instances        integer NOT NULL DEFAULT 0,
    -- The header that the instances' headers are compressed against, itself without compression: the first
    -- 32 KiB of the first that came.
    header_dictionary          bytea,
    UNIQUE (series_instance_uid, study)
) WITH (fillfactor = 80);

CREATE INDEX series_of_study ON series (study);

CREATE TABLE instance (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series               bigint NOT NULL REFERENCES series,
    sop_instance_uid     text COLLATE "C" NOT NULL UNIQUE,
    sop_class_uid        text COLLATE "C" NOT NULL,
    transfer_syntax_uid  text COLLATE "C" NOT NULL,
    instance_number      text COLLATE "C",
    instance_order       bigint,
    content_date         text COLLATE "C",
    content_time         text COLLATE "C",
    acquisition_date     text COLLATE "C",
    acquisition_time     text COLLATE "C",
    creation_date        text COLLATE "C",
    creation_time        text COLLATE "C",
    rows                 text COLLATE "C",
    columns              text COLLATE "C",
    bits_allocated       text COLLATE "C",
    number_of_frames     text COLLATE "C",
    -- The blob of the served bytes: of all that hold these bytes in this transfer syntax the one with the
    -- lowest key.
    bucket               text COLLATE "C" NOT NULL,
    key                  text COLLATE "C" NOT NULL UNIQUE,
    "offset"             bigint NOT NULL,
    length               bigint NOT NULL,
    data_set_offset      integer NOT NULL,
    data_set_digest      bytea NOT NULL,
    file_digest          bytea NOT NULL,
    -- The greatest ordinal with which these very bytes arrived: the greatest is what is served.
    latest               uuid NOT NULL,
    received_at          timestamptz NOT NULL,
    route                text COLLATE "C" NOT NULL,
    calling_aet          text COLLATE "C" NOT NULL,
    called_aet           text COLLATE "C" NOT NULL,
    -- header_form 1: zlib; 2: zlib with the series' header_dictionary.
    header               bytea NOT NULL,
    header_form          smallint NOT NULL,
    header_version       smallint NOT NULL,
    header_covers        bigint NOT NULL,
    -- It lives again when an original comes whose ordinal is greater than `latest`.
    deleted_at           timestamptz
);

CREATE INDEX instance_of_series ON instance (series, instance_order, id);

-- Originals that are known and not served: the same bytes once more, or bytes that later ones replaced.
CREATE TABLE other_original (
    key                  text COLLATE "C" PRIMARY KEY,
    sop_instance_uid     text COLLATE "C" NOT NULL,
    -- Bytes are the same where data_set_digest and transfer syntax are.
    transfer_syntax_uid  text COLLATE "C" NOT NULL,
    bucket               text COLLATE "C" NOT NULL,
    "offset"             bigint NOT NULL,
    length               bigint NOT NULL,
    data_set_offset      integer NOT NULL,
    data_set_digest      bytea NOT NULL,
    file_digest          bytea NOT NULL,
    received_at          timestamptz NOT NULL,
    route                text COLLATE "C" NOT NULL,
    calling_aet          text COLLATE "C" NOT NULL,
    called_aet           text COLLATE "C" NOT NULL
);

CREATE INDEX other_original_of_instance ON other_original (sop_instance_uid);

CREATE TABLE rendition (
    instance             bigint NOT NULL REFERENCES instance,
    source_digest        bytea NOT NULL,
    kind                 text COLLATE "C" NOT NULL,
    transfer_syntax_uid  text COLLATE "C" NOT NULL,
    bucket               text COLLATE "C",
    key                  text COLLATE "C",
    "offset"             bigint,
    length               bigint,
    file_length          bigint,
    data_set_offset      integer,
    digest               bytea,
    recipe               jsonb,
    refusal              text,
    recorded_at          timestamptz NOT NULL DEFAULT now(),
    -- With the digest it tells which original this was made of: the same bytes may come in two transfer
    -- syntaxes, of which one may be false; what tells of none counts for nothing.
    source_transfer_syntax_uid  text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (instance, source_digest, kind),
    CHECK ((key IS NULL) = (refusal IS NOT NULL))
);

-- What an operator has to decide; derived, so that it cannot disagree with the rows.
CREATE VIEW conflict AS
    SELECT 'study of two patients'::text AS kind, study_instance_uid AS subject,
           array_agg(id ORDER BY id) AS studies
      FROM study
     WHERE number_of_instances > 0
     GROUP BY study_instance_uid
    HAVING count(*) > 1
    UNION ALL
    SELECT 'patient stated in two ways', study_instance_uid, ARRAY[id]
      FROM study
     WHERE number_of_instances > 0
       AND (cardinality(stated_birth_dates) > 1 OR cardinality(stated_sexes) > 1)
    UNION ALL
    SELECT CASE WHEN min(nullif(birth_date, '')) <> max(nullif(birth_date, ''))
                  OR min(nullif(sex, '')) <> max(nullif(sex, '')) THEN 'one identity, two people'
                ELSE 'one identity, two names' END,
           issuer || '|' || patient_id, array_agg(id ORDER BY id)
      FROM study
     WHERE number_of_instances > 0 AND patient_id <> ''
     GROUP BY issuer, patient_id
    HAVING min(nullif(birth_date, '')) <> max(nullif(birth_date, ''))
        OR min(nullif(sex, '')) <> max(nullif(sex, ''))
        OR min(nullif(split_part(name_folded, '=', 1), '')) <> max(nullif(split_part(name_folded, '=', 1), ''))
    UNION ALL
    SELECT 'instance in two versions', s.study_instance_uid, array_agg(DISTINCT s.id ORDER BY s.id)
      FROM other_original o
      JOIN instance i ON i.sop_instance_uid = o.sop_instance_uid
      JOIN series r ON r.id = i.series
      JOIN study s ON s.id = r.study
     WHERE i.deleted_at IS NULL
       AND (o.data_set_digest, o.transfer_syntax_uid) <> (i.data_set_digest, i.transfer_syntax_uid)
     GROUP BY s.study_instance_uid;

-- A task that was begun and never ended (architecture, section 4).  A crash of the server forgets them.
CREATE UNLOGGED TABLE attempt (
    task             text COLLATE "C" NOT NULL,
    key              text COLLATE "C" NOT NULL,
    attempts         integer NOT NULL,
    last_attempt_at  timestamptz NOT NULL,
    PRIMARY KEY (task, key)
);

-- How far a walk over the object store has come.
CREATE TABLE watermark (
    name        text COLLATE "C" PRIMARY KEY,
    key         text COLLATE "C" NOT NULL,
    changed_at  timestamptz NOT NULL
);

-- Which files of migrations/ have been applied, with the SHA-256 of their text.
CREATE TABLE migration (
    name        text COLLATE "C" PRIMARY KEY,
    checksum    text COLLATE "C" NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
);
