-- A rendition or refusal tells not only the bytes it was made of but also in which transfer syntax they were.
-- What was recorded before counts where they came in one alone; elsewhere it is made again.

ALTER TABLE rendition ADD COLUMN source_transfer_syntax_uid text COLLATE "C" NOT NULL DEFAULT '';

UPDATE rendition n
   SET source_transfer_syntax_uid = i.transfer_syntax_uid
  FROM instance i
 WHERE i.id = n.instance AND i.data_set_digest = n.source_digest
   AND NOT EXISTS (SELECT FROM other_original o
                    WHERE o.sop_instance_uid = i.sop_instance_uid AND o.data_set_digest = i.data_set_digest
                      AND o.transfer_syntax_uid <> i.transfer_syntax_uid);
