"""What a commit is in SQL: one statement, so that it is one round trip, and durable as a whole or not at all.

``head`` moves only from where the writer believes it to be; everything else hangs on that. Two writers, or one that sends the
same commit twice after a broken line, cannot both succeed.
"""

from __future__ import annotations

_MOVED = """WITH moved AS (UPDATE head SET last = last + $2 WHERE last = $1 - 1 OR $2 = 0 RETURNING 1)"""
_EVENTS = """events AS (INSERT INTO event SELECT id, seq FROM unnest($3::bytea[], $4::bigint[]) AS u (id, seq)
  WHERE EXISTS (SELECT FROM moved))"""
_SEGMENTS = """segments AS (INSERT INTO segment (first, count, kinds, leaves, seal, body, written)
  SELECT u.*, $11 FROM unnest($5::bigint[], $6::integer[], $7::text[], $8::bytea[], $9::bytea[], $10::bytea[]) AS u
  WHERE EXISTS (SELECT FROM moved))"""
_PROGRESS = """progressed AS (INSERT INTO progress SELECT * FROM unnest($12::text[], $13::bigint[]) AS u
  WHERE EXISTS (SELECT FROM moved) ON CONFLICT (source) DO UPDATE SET position = excluded.position)"""
_NEWEST = """newer AS (INSERT INTO newest SELECT * FROM unnest($14::text[], $15::bytea[], $16::bigint[]) AS u
  WHERE EXISTS (SELECT FROM moved) ON CONFLICT (kind, key) DO UPDATE SET seq = excluded.seq)"""
_QUARANTINED = """quarantined AS (INSERT INTO quarantine
    (block, place, source, position, arrived, reason, field, message, raw, kind, tabular, status)
  SELECT $17, u.* FROM unnest($18::integer[], $19::text[], $20::bigint[], $21::bigint[], $22::text[], $23::bytea[], $24::bytea[],
    $25::bytea[], $26::integer[], $27::boolean[], $28::text[]) AS u
  WHERE EXISTS (SELECT FROM moved) ON CONFLICT (block, place) DO NOTHING)"""
_SETTLED = """settled AS (UPDATE quarantine SET status = u.status,
    raw = CASE u.status WHEN 'erased' THEN '' ELSE raw END
  FROM unnest($29::bigint[], $30::text[]) AS u (id, status)
  WHERE quarantine.id = u.id AND EXISTS (SELECT FROM moved))"""
_SUBJECTS = """subjects AS (INSERT INTO subject SELECT *
  FROM unnest($31::bytea[], $32::bytea[], $33::bytea[], $34::bigint[]) AS u (tag, ref, wrapped, made)
  WHERE EXISTS (SELECT FROM moved) AND NOT EXISTS (SELECT FROM subject WHERE subject.tag = u.tag AND subject.ref = u.ref))"""
_ERASED = """erased AS (DELETE FROM subject WHERE ref = ANY($35::bytea[]) AND EXISTS (SELECT FROM moved))"""
_DONE = "SELECT count(*) FROM moved"

DECIDED = ", ".join((_MOVED, _EVENTS, _SEGMENTS, _PROGRESS)) + " " + _DONE  # of decisions alone: nearly all commits
ANY = ", ".join((_MOVED, _EVENTS, _SEGMENTS, _PROGRESS, _NEWEST, _QUARANTINED, _SETTLED)) + " " + _DONE
PEOPLE = ", ".join((_MOVED, _EVENTS, _SEGMENTS, _PROGRESS, _NEWEST, _QUARANTINED, _SETTLED, _SUBJECTS, _ERASED)) + " " + _DONE

AT = "SELECT first, count, kinds, leaves, seal, body FROM segment "
FIRSTS = """SELECT seq, (SELECT first FROM segment WHERE first <= seq ORDER BY first DESC LIMIT 1)
  FROM unnest($1::bigint[]) AS u (seq)"""
FROM = f"""{AT} WHERE first >= coalesce((SELECT first FROM segment WHERE first <= $1 ORDER BY first DESC LIMIT 1), 0)
  ORDER BY first LIMIT $2"""
WITHIN = f"""{AT} WHERE first >= $1 AND first + count - 1 <= $2 AND kinds NOT LIKE '%"act"%' AND kinds NOT LIKE '%"expired"%'
  ORDER BY first"""
