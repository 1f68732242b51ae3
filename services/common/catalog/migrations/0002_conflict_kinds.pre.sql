-- Two more kinds of conflict: one identity under several names, and instances that came with other bytes.

CREATE OR REPLACE VIEW conflict AS
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
