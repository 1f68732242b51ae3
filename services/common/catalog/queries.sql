-- The statements of the catalog's writer, by name.  Many rows go in as one JSON array, whose objects have
-- the columns' names, so that the server gives every value its column's type.

-- name: places
-- Where instances are now, whose they are, and which bytes they serve.
SELECT i.sop_instance_uid, r.id, s.id, s.study_instance_uid, s.issuer, s.patient_id,
       encode(i.data_set_digest, 'hex')
  FROM instance i JOIN series r ON r.id = i.series JOIN study s ON s.id = r.study
 WHERE i.sop_instance_uid = ANY(%(sop_instance_uids)s)

-- name: lock_families
-- A family is a patient identity with all its rows, whatever birth date and sex they state, and its
-- studies and their series; the lock stands for those that do not exist yet, too.
SELECT pg_advisory_xact_lock(number) FROM unnest(%(numbers)s::bigint[]) AS number

-- name: lock_studies
SELECT id, patient, study_instance_uid, issuer, patient_id, patient_name, birth_date, birth_time, sex,
       study_date, study_time, accession_number, study_id, study_description, referring_physician_name,
       stated_birth_dates, stated_sexes, source, older_sources, last_received_at
  FROM study
 WHERE id IN (SELECT s.id
                FROM unnest(%(study_instance_uids)s::text[], %(issuers)s::text[], %(patient_ids)s::text[])
                     AS wanted (study_instance_uid, issuer, patient_id)
                JOIN study s USING (study_instance_uid, issuer, patient_id)
               UNION
              SELECT unnest(%(ids)s::bigint[]))
 ORDER BY id
   FOR NO KEY UPDATE

-- name: lock_patients
SELECT p.id, p.issuer, p.patient_id, p.anonymous_study_uid, p.birth_date, p.sex,
       p.patient_name, p.birth_time, p.source, p.older_sources
  FROM patient p
  JOIN json_populate_recordset(NULL::patient, %(rows)s) wanted
       USING (issuer, patient_id, anonymous_study_uid, birth_date, sex)
 ORDER BY p.id
   FOR NO KEY UPDATE OF p

-- name: insert_patients
INSERT INTO patient (issuer, patient_id, anonymous_study_uid, birth_date, sex, source)
SELECT issuer, patient_id, anonymous_study_uid, birth_date, sex, source
  FROM json_populate_recordset(NULL::patient, %(rows)s)
RETURNING id, issuer, patient_id, anonymous_study_uid, birth_date, sex

-- name: update_patients
UPDATE patient p
   SET patient_name = new.patient_name, name_folded = new.name_folded, name_trigrams = new.name_trigrams,
       birth_time = new.birth_time, source = new.source, older_sources = new.older_sources
  FROM json_populate_recordset(NULL::patient, %(rows)s) new
 WHERE p.id = new.id

-- name: studies_of_patients
SELECT patient, patient_name, birth_time, source, older_sources FROM study WHERE patient = ANY(%(ids)s)

-- name: delete_patients
DELETE FROM patient WHERE id = ANY(%(ids)s)

-- name: insert_studies
INSERT INTO study (patient, study_instance_uid, issuer, patient_id, source, last_received_at)
SELECT patient, study_instance_uid, issuer, patient_id, source, last_received_at
  FROM json_populate_recordset(NULL::study, %(rows)s)
RETURNING id, study_instance_uid, issuer, patient_id

-- name: update_studies
-- Counts and sets are of the live series, all of which the transaction has locked or nobody else may write.
UPDATE study s
   SET patient = new.patient, patient_name = new.patient_name, name_folded = new.name_folded,
       name_trigrams = new.name_trigrams, birth_date = new.birth_date, birth_time = new.birth_time,
       sex = new.sex, stated_birth_dates = new.stated_birth_dates, stated_sexes = new.stated_sexes,
       study_date = new.study_date, study_time = new.study_time, accession_number = new.accession_number,
       study_id = new.study_id, study_description = new.study_description,
       referring_physician_name = new.referring_physician_name, referring_folded = new.referring_folded,
       source = new.source, older_sources = new.older_sources, last_received_at = new.last_received_at,
       number_of_series = live.series, number_of_instances = live.instances,
       modalities = live.modalities, sop_classes = live.sop_classes
  FROM json_populate_recordset(NULL::study, %(rows)s) new,
       LATERAL (
           SELECT count(*) AS series, coalesce(sum(number_of_instances), 0) AS instances,
                  coalesce(array_agg(DISTINCT modality) FILTER (WHERE modality IS NOT NULL), '{}')
                      AS modalities,
                  ARRAY(SELECT DISTINCT sop_class FROM series, unnest(series.sop_classes) AS sop_class
                         WHERE study = new.id AND number_of_instances > 0 ORDER BY sop_class)
                      AS sop_classes
             FROM series
            WHERE study = new.id AND number_of_instances > 0) live
 WHERE s.id = new.id

-- name: lock_series
SELECT id, study, series_instance_uid, modality, series_number, series_description, series_date,
       series_time, body_part_examined, protocol_name, station_name, institution_name,
       performing_physician_name, performed_date, performed_time, source, older_sources, sop_classes,
       number_of_instances, header_dictionary
  FROM series
 WHERE id IN (SELECT r.id
                FROM unnest(%(studies)s::bigint[], %(series_instance_uids)s::text[])
                     AS wanted (study, series_instance_uid)
                JOIN series r USING (study, series_instance_uid)
               UNION
              SELECT unnest(%(ids)s::bigint[]))
 ORDER BY id
   FOR NO KEY UPDATE

-- name: insert_series
INSERT INTO series (study, series_instance_uid, source, header_dictionary)
SELECT study, series_instance_uid, source, header_dictionary
  FROM json_populate_recordset(NULL::series, %(rows)s)
RETURNING id, study, series_instance_uid

-- name: update_series
UPDATE series r
   SET modality = new.modality, series_number = new.series_number, series_order = new.series_order,
       series_description = new.series_description, series_date = new.series_date,
       series_time = new.series_time, body_part_examined = new.body_part_examined,
       protocol_name = new.protocol_name, station_name = new.station_name,
       institution_name = new.institution_name,
       performing_physician_name = new.performing_physician_name,
       performing_folded = new.performing_folded, performed_date = new.performed_date,
       performed_time = new.performed_time, source = new.source, older_sources = new.older_sources,
       sop_classes = new.sop_classes, number_of_instances = new.number_of_instances
  FROM json_populate_recordset(NULL::series, %(rows)s) new
 WHERE r.id = new.id

-- name: sop_classes_of_series
SELECT series, array_agg(DISTINCT sop_class_uid ORDER BY sop_class_uid)
  FROM instance
 WHERE series = ANY(%(ids)s) AND deleted_at IS NULL
 GROUP BY series

-- name: lock_instances
SELECT id, series, sop_instance_uid, transfer_syntax_uid, bucket, key, "offset", length,
       data_set_offset, data_set_digest, file_digest, latest, received_at, route, calling_aet, called_aet,
       deleted_at
  FROM instance
 WHERE sop_instance_uid = ANY(%(sop_instance_uids)s)
 ORDER BY sop_instance_uid
   FOR NO KEY UPDATE

-- name: other_originals
SELECT sop_instance_uid, transfer_syntax_uid, bucket, key, "offset", length, data_set_offset,
       data_set_digest, file_digest, received_at, route, calling_aet, called_aet
  FROM other_original
 WHERE sop_instance_uid = ANY(%(sop_instance_uids)s)

-- name: insert_instances
INSERT INTO instance (
       series, sop_instance_uid, sop_class_uid, transfer_syntax_uid, instance_number, instance_order,
       content_date, content_time, acquisition_date, acquisition_time, creation_date, creation_time, rows,
       columns, bits_allocated, number_of_frames, bucket, key, "offset", length, data_set_offset,
       data_set_digest, file_digest, latest, received_at, route, calling_aet, called_aet, header,
       header_form, header_version, header_covers)
SELECT series, sop_instance_uid, sop_class_uid, transfer_syntax_uid, instance_number, instance_order,
       content_date, content_time, acquisition_date, acquisition_time, creation_date, creation_time, rows,
       columns, bits_allocated, number_of_frames, bucket, key, "offset", length, data_set_offset,
       data_set_digest, file_digest, latest, received_at, route, calling_aet, called_aet, header,
       header_form, header_version, header_covers
  FROM json_populate_recordset(NULL::instance, %(rows)s)
    ON CONFLICT (sop_instance_uid) DO NOTHING

-- name: update_instances
UPDATE instance i
   SET series = new.series, sop_class_uid = new.sop_class_uid,
       transfer_syntax_uid = new.transfer_syntax_uid, instance_number = new.instance_number,
       instance_order = new.instance_order, content_date = new.content_date,
       content_time = new.content_time, acquisition_date = new.acquisition_date,
       acquisition_time = new.acquisition_time, creation_date = new.creation_date,
       creation_time = new.creation_time, rows = new.rows, columns = new.columns,
       bits_allocated = new.bits_allocated, number_of_frames = new.number_of_frames, bucket = new.bucket,
       key = new.key, "offset" = new."offset", length = new.length, data_set_offset = new.data_set_offset,
       data_set_digest = new.data_set_digest, file_digest = new.file_digest, latest = new.latest,
       received_at = new.received_at, route = new.route, calling_aet = new.calling_aet,
       called_aet = new.called_aet, header = new.header, header_form = new.header_form,
       header_version = new.header_version, header_covers = new.header_covers, deleted_at = new.deleted_at
  FROM json_populate_recordset(NULL::instance, %(rows)s) new
 WHERE i.id = new.id

-- name: delete_other_originals
DELETE FROM other_original WHERE key = ANY(%(keys)s)

-- name: insert_other_originals
INSERT INTO other_original (
       key, sop_instance_uid, transfer_syntax_uid, bucket, "offset", length, data_set_offset,
       data_set_digest, file_digest, received_at, route, calling_aet, called_aet)
SELECT key, sop_instance_uid, transfer_syntax_uid, bucket, "offset", length, data_set_offset,
       data_set_digest, file_digest, received_at, route, calling_aet, called_aet
  FROM json_populate_recordset(NULL::other_original, %(rows)s)

-- name: rendered
-- Those instances that have something derived from the bytes they serve, or the reason why not.
SELECT i.sop_instance_uid
  FROM instance i
 WHERE i.sop_instance_uid = ANY(%(sop_instance_uids)s)
   AND EXISTS (SELECT FROM rendition n
                WHERE n.instance = i.id AND n.source_digest = i.data_set_digest
                  AND n.source_transfer_syntax_uid = i.transfer_syntax_uid)

-- name: record_rendition
-- Of one data set in two transfer syntaxes, what was made of the one that is served stays.
INSERT INTO rendition (
       instance, source_digest, source_transfer_syntax_uid, kind, transfer_syntax_uid, bucket, key, "offset",
       length, file_length, data_set_offset, digest, recipe, refusal)
SELECT id, %(source_digest)s, %(source_transfer_syntax_uid)s, %(kind)s, %(transfer_syntax_uid)s, %(bucket)s,
       %(key)s, %(offset)s, %(length)s, %(file_length)s, %(data_set_offset)s, %(digest)s, %(recipe)s,
       %(refusal)s
  FROM instance
 WHERE sop_instance_uid = %(sop_instance_uid)s
    ON CONFLICT (instance, source_digest, kind) DO UPDATE
   SET source_transfer_syntax_uid = excluded.source_transfer_syntax_uid,
       transfer_syntax_uid = excluded.transfer_syntax_uid, bucket = excluded.bucket, key = excluded.key,
       "offset" = excluded."offset", length = excluded.length, file_length = excluded.file_length,
       data_set_offset = excluded.data_set_offset, digest = excluded.digest, recipe = excluded.recipe,
       refusal = excluded.refusal, recorded_at = excluded.recorded_at
 WHERE excluded.source_transfer_syntax_uid = rendition.source_transfer_syntax_uid
    OR rendition.source_transfer_syntax_uid <> (
       SELECT i.transfer_syntax_uid FROM instance i WHERE i.id = rendition.instance)

-- name: known_keys
SELECT key FROM instance WHERE key = ANY(%(keys)s)
 UNION ALL
SELECT key FROM other_original WHERE key = ANY(%(keys)s)

-- name: begin_attempt
INSERT INTO attempt (task, key, attempts, last_attempt_at) VALUES (%(task)s, %(key)s, 1, now())
    ON CONFLICT (task, key) DO UPDATE SET attempts = attempt.attempts + 1, last_attempt_at = now()
RETURNING attempts

-- name: end_attempt
DELETE FROM attempt WHERE task = %(task)s AND key = %(key)s

-- The sweeper's.

-- name: watermark
SELECT key FROM watermark WHERE name = %(walk)s

-- name: set_watermark
INSERT INTO watermark (name, key, changed_at)
VALUES (%(walk)s, %(key)s, now())
    ON CONFLICT (name) DO UPDATE SET key = excluded.key, changed_at = excluded.changed_at

-- name: greatest_instance
SELECT coalesce(max(id), 0) AS greatest FROM instance

-- name: unrendered
SELECT s.study_instance_uid, r.series_instance_uid, i.sop_instance_uid, i.sop_class_uid,
       i.transfer_syntax_uid, i.bucket, i.key, i."offset", i.length, i.data_set_offset,
       encode(i.data_set_digest, 'hex') AS data_set_digest
  FROM instance i JOIN series r ON r.id = i.series JOIN study s ON s.id = r.study
 WHERE i.id > %(after)s AND i.id <= %(through)s
   AND i.deleted_at IS NULL AND i.received_at < %(before)s
   AND NOT EXISTS (SELECT FROM rendition n
                    WHERE n.instance = i.id AND n.source_digest = i.data_set_digest
                      AND n.source_transfer_syntax_uid = i.transfer_syntax_uid)
 ORDER BY i.id

-- name: still_unrendered
SELECT i.key
  FROM instance i
 WHERE i.key = ANY(%(keys)s) AND i.deleted_at IS NULL
   AND NOT EXISTS (SELECT FROM rendition n
                    WHERE n.instance = i.id AND n.source_digest = i.data_set_digest
                      AND n.source_transfer_syntax_uid = i.transfer_syntax_uid)

-- name: duplicates
-- Of the same bytes the catalog serves those with the lowest key.
SELECT o.bucket, o.key, o."offset", o.length,
       i.bucket AS kept_bucket, i.key AS kept_key, i."offset" AS kept_offset, i.length AS kept_length,
       encode(i.file_digest, 'hex') AS kept_file_digest
  FROM other_original o JOIN instance i USING (sop_instance_uid, transfer_syntax_uid, data_set_digest)
 WHERE o.key > i.key AND o.received_at < %(before)s AND i.deleted_at IS NULL
   -- The order in which versions came must stay provable from what is left in the store.
   AND NOT EXISTS (
       SELECT FROM other_original x
        WHERE x.sop_instance_uid = o.sop_instance_uid AND x.key > i.key AND x.key < o.key
          AND (x.data_set_digest, x.transfer_syntax_uid) <> (i.data_set_digest, i.transfer_syntax_uid))
 ORDER BY o.key
 LIMIT %(limit)s

-- name: lock_duplicate
SELECT o.key
  FROM instance i JOIN other_original o USING (sop_instance_uid, transfer_syntax_uid, data_set_digest)
 WHERE o.key = %(key)s AND i.key = %(kept)s AND i.deleted_at IS NULL
   -- The order in which versions came must stay provable from what is left in the store.
   AND NOT EXISTS (
       SELECT FROM other_original x
        WHERE x.sop_instance_uid = o.sop_instance_uid AND x.key > i.key AND x.key < o.key
          AND (x.data_set_digest, x.transfer_syntax_uid) <> (i.data_set_digest, i.transfer_syntax_uid))
   FOR UPDATE OF i, o

-- name: forget_other_original
DELETE FROM other_original WHERE key = %(key)s

-- The pages'.

-- name: latest_arrivals
SELECT s.study_instance_uid, s.patient_name, s.patient_id, s.study_description, s.modalities,
       s.number_of_instances, s.last_received_at, came.sources
  FROM (SELECT * FROM study WHERE number_of_instances > 0
         ORDER BY last_received_hour DESC, last_received_at DESC, id DESC LIMIT %(limit)s) s
 CROSS JOIN LATERAL (
       SELECT array_agg(DISTINCT coalesce(nullif(i.calling_aet, ''), i.route)) AS sources
         FROM series r JOIN instance i ON i.series = r.id
        WHERE r.study = s.id AND i.deleted_at IS NULL) came
 ORDER BY s.last_received_at DESC, s.id DESC

-- name: count_conflicts
SELECT kind, count(*) AS number FROM conflict GROUP BY kind

-- name: conflicts
-- Of the studies of each, one of every different statement first.
SELECT c.subject, cardinality(c.studies) AS number_of_studies, s.*
  FROM (SELECT * FROM conflict
         WHERE kind = %(kind)s AND subject COLLATE "C" > %(after)s
         ORDER BY subject COLLATE "C" LIMIT %(limit)s) c
 CROSS JOIN LATERAL (
       SELECT study_instance_uid, issuer, patient_id, patient_name, birth_date, sex, stated_birth_dates,
              stated_sexes, study_date, study_description, number_of_instances,
              row_number() OVER (PARTITION BY issuer, patient_id, birth_date, sex, name_folded ORDER BY id) AS nth
         FROM study WHERE id = ANY(c.studies)
        ORDER BY nth, id LIMIT %(studies_told)s) s
 ORDER BY c.subject COLLATE "C", s.nth, s.patient_id, s.study_instance_uid

-- name: versions
-- The instances of some studies that came with other bytes than are served, with how many others.
SELECT * FROM (
       SELECT s.study_instance_uid, i.sop_instance_uid,
              count(DISTINCT (o.data_set_digest, o.transfer_syntax_uid)) AS replaced,
              count(*) OVER (PARTITION BY s.study_instance_uid) AS number_of_instances,
              row_number() OVER (PARTITION BY s.study_instance_uid ORDER BY i.sop_instance_uid) AS nth
         FROM study s
         JOIN series r ON r.study = s.id
         JOIN instance i ON i.series = r.id
         JOIN other_original o ON o.sop_instance_uid = i.sop_instance_uid
        WHERE s.study_instance_uid = ANY(%(studies)s) AND i.deleted_at IS NULL
          AND (o.data_set_digest, o.transfer_syntax_uid) <> (i.data_set_digest, i.transfer_syntax_uid)
        GROUP BY s.study_instance_uid, i.sop_instance_uid) found
 WHERE nth <= %(told)s
 ORDER BY study_instance_uid, nth
