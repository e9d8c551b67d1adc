/** Storing events; one with a key once, however often it is sent. */
import { createHash } from 'node:crypto';
import { canonicalJson, uuidv7 } from '../store/index.ts';
import type { Core } from './core.ts';
import { EngineError } from './errors.ts';
import { toJson } from './json.ts';
import { checkText } from './start.ts';
import type { EmitRequest } from './types.ts';

interface StoredEvent {
  readonly eventId: string;
  /** The key was known: this is the first event. */
  readonly idempotent: boolean;
}

/** @throws EngineError EVENT_KEY_MISMATCH, INVALID_REQUEST, NOT_JSON, TOO_LARGE */
export async function storeEvent(core: Core, request: EmitRequest): Promise<StoredEvent> {
  const { event_type: type, correlation_id: correlationId, event_key: key } = request;
  checkText('event_key', key ?? null, 512);
  // two that are not text would be one in UTF-8
  if (key?.isWellFormed() === false) throw new EngineError('INVALID_REQUEST', 'event_key: expected whole characters');
  const payload = toJson(request.payload, 'payload');
  const eventId = uuidv7(core.store.now());
  const row = [eventId, type, correlationId, payload];
  if (key == null) {
    await core.store.query(
      'insert into workflow_events (event_id, event_type, correlation_id, payload) values ($1, $2, $3, $4::json)',
      row,
    );
    return { eventId, idempotent: false };
  }
  const hash = sha256(canonicalJson([correlationId, request.payload ?? null]));
  // key and event in one statement; of two at once the second waits for the first one's commit, and then finds its key
  const { rowCount } = await core.store.query(
    `with claimed as (insert into workflow_event_keys (event_type, key_hash, event_id, event_hash) values ($2, $5, $1, $6)
       on conflict (event_type, key_hash) do nothing returning event_id)
     insert into workflow_events (event_id, event_type, correlation_id, payload) select event_id, $2, $3, $4::json from claimed`,
    [...row, sha256(key), hash],
  );
  return rowCount === 1 ? { eventId, idempotent: false } : { eventId: await knownEvent(core, type, key, hash), idempotent: true };
}

async function knownEvent(core: Core, type: string, key: string, hash: Buffer): Promise<string> {
  const { rows } = await core.store.query<{ event_id: string; event_hash: Buffer }>(
    'select event_id, event_hash from workflow_event_keys where event_type = $1 and key_hash = $2',
    [type, sha256(key)],
  );
  const [known] = rows;
  if (known === undefined) throw new EngineError('STORE_UNAVAILABLE', 'event_key: it is just being forgotten; try again');
  if (!known.event_hash.equals(hash))
    throw new EngineError(
      'EVENT_KEY_MISMATCH',
      `event_key: "${key}" has sent the event ${known.event_id} with another correlation id or payload`,
      { details: { event_id: known.event_id } },
    );
  return known.event_id;
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
