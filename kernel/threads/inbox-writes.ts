/**
 * What is written to the inbox for each event, put and settled, through the group-commit writer: a commit, its flush to disk and its
 * notification are shared by all that come in the same moment, and of those of one conversation none waits for another's commit.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import {
  binary,
  createWriter,
  lookUp,
  type PendingWrite,
  type Queryable,
  statementName,
  type Store,
  StoreError,
  type StoreLogEntry,
  type Writer,
} from '../store/index.ts';
import type { EventName, InboxEvent } from './inbox.ts';

export const INBOX_CHANNEL = 'centaur_inbox';
/** The first half of the advisory lock of a conversation; the other is the hash of `conversationKey`. */
const PUT_LOCK = 7_226_015;
/** What may wait for a database that does not answer, and how long. Whoever sends more, or has waited, is told so and sends it again. */
const WAITING_BYTES = 64 * 1024 * 1024;
const WAIT_MS = 10_000;
/** Of an event, beside what it says: its request and its line. */
const EVENT_BYTES = 2000;
const CLOSE_MS = 5000;

const { jsonArray, textArray } = binary;

type Conversation = Pick<InboxEvent, 'platform' | 'conversation'>;

/** No two have the same. */
const conversationKey = ({ platform, conversation }: Conversation): string => JSON.stringify([platform, conversation]);
const eventKey = ({ platform, event_id }: EventName): string => JSON.stringify([platform, event_id]);

/** Until the transaction ends, nobody else gives an event of this conversation a place. */
export async function lockConversation(tx: Queryable, conversation: Conversation): Promise<void> {
  // by a statement of its own: what the next one sees is later than this
  await tx.query('select pg_advisory_xact_lock($1, hashtext($2))', [PUT_LOCK, conversationKey(conversation)]);
}

/**
 * One transaction at a time for each conversation: places are drawn at the insert and seen at the commit, and an event that is seen after a
 * later one would be overtaken. So its lock is there before its place is drawn: a row comes out of the join only after its own lock was
 * tried. Those whose lock somebody else has are told of as busy; those that are known are left out first, since to insert them would wait
 * for whoever is just changing them: so neither holds up the others.
 */
export const PUT = `with locked as materialized (
    select c.key, pg_try_advisory_xact_lock(${PUT_LOCK}, hashtext(c.key)) as ours from (select distinct key from unnest($1::text[]) key) c),
  stored as (
    insert into agent_inbox (platform, event_id, conversation, body)
    select e.platform, e.event_id, e.conversation, e.body
    from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::json[]) with ordinality e(key, platform, event_id, conversation, body, n)
    join locked on locked.key = e.key
    where locked.ours and not exists (
      select from agent_inbox k where ${lookUp('k.platform', 'e.platform')} and ${lookUp('k.event_id', 'e.event_id')})
    order by e.n
    on conflict do nothing returning platform, event_id)
  select platform, event_id, null as busy, pg_notify('${INBOX_CHANNEL}', platform)::text from stored
  union all select null, null, key, null from locked where not ours`;

const PUT_ONE = `with stored as (
    insert into agent_inbox (platform, event_id, conversation, body) values ($1, $2, $3, $4) on conflict do nothing returning platform)
  select pg_notify('${INBOX_CHANNEL}', platform) from stored`;

/** Names events by their ids and their state alone: see the head of `inbox.ts`. */
export const SETTLE = `with settled as (
    update agent_inbox i set state = 'done', body = null, lease_expires_at = null, last_error = null, settled_at = now()
    from unnest($1::text[], $2::text[], $3::text[]) u(platform, event_id, consumer)
    where ${lookUp('i.platform', 'u.platform')} and ${lookUp('i.event_id', 'u.event_id')} and i.state = 'claimed' and i.lease_owner = u.consumer
    returning i.platform, i.event_id, i.lease_owner)
  select platform, event_id, lease_owner, pg_notify('${INBOX_CHANNEL}', platform) from settled`;

interface Write extends PendingWrite {
  /** Whoever asked was told that it took too long. It is not sent any more: a settling that came after its lease would end another claim. */
  isGivenUp: boolean;
}

interface Put extends Write {
  readonly event: InboxEvent;
  readonly body: string;
  /** Said by the flush. */
  became: 'new' | 'known' | 'busy';
}

interface Settle extends Write {
  readonly event: EventName;
  readonly consumerId: string;
  /** Said by the flush. */
  became: 'done' | 'not claimed';
}

export interface InboxWrites {
  /** Resolves when it is committed: whether it is a new one. @throws StoreError UNAVAILABLE when too much waits, or it did for too long */
  put(event: InboxEvent): Promise<boolean>;
  /** Resolves when it is committed: whether it was this consumer's, and is over now. @throws StoreError UNAVAILABLE */
  settle(event: EventName, consumerId: string): Promise<boolean>;
  close(): Promise<void>;
}

export interface InboxWritesOptions {
  readonly store: Pick<Store, 'connect' | 'transaction'>;
  readonly log: (entry: StoreLogEntry) => void;
  /** How long a write waits for a database that does not answer. Default 10,000. */
  readonly waitMs?: number;
  /** How long closing waits for what is not committed. Default 5,000. */
  readonly closeMs?: number;
}

export function createInboxWrites({ store, log, waitMs = WAIT_MS, closeMs = CLOSE_MS }: InboxWritesOptions): InboxWrites {
  // one that had committed and is sent again is found as known, or as not claimed any more: who asks then hears that it had been done before
  const common = { committed: async () => false, isFatal: () => false, log, maxRows: 200, hangMs: waitMs };
  const puts = createWriter<Put>({ ...common, connect: () => store.connect('inbox puts'), flush: flushPuts });
  const settles = createWriter<Settle>({ ...common, connect: () => store.connect('inbox settles'), flush: flushSettles });
  let waiting = 0;

  /** Resolves with the write when it is committed. */
  function push<One extends Write>(writer: Writer<One>, event: EventName, bytes: number, complete: (write: Write) => One): Promise<One> {
    if (waiting + bytes > WAITING_BYTES) return Promise.reject(unavailable());
    waiting += bytes;
    return new Promise((resolve, reject) => {
      const write = complete({
        group: eventKey(event),
        bytes,
        isGivenUp: false,
        settle(error) {
          clearTimeout(late);
          waiting -= bytes;
          if (error === undefined) resolve(write);
          else reject(error);
        },
      });
      const late = setTimeout(() => {
        write.isGivenUp = true;
        reject(unavailable());
      }, waitMs).unref();
      writer.push(write);
    });
  }

  /** Waits for whoever has the lock. */
  function putAlone(event: InboxEvent, body: string): Promise<boolean> {
    return store.transaction(async (tx) => {
      await tx.query(`set local lock_timeout = ${waitMs}`);
      await lockConversation(tx, event);
      const { rowCount } = await tx.query(PUT_ONE, [event.platform, event.event_id, event.conversation, body]);
      return rowCount === 1;
    });
  }

  return {
    async put(event) {
      const body = JSON.stringify(event.body);
      const { became } = await push(puts, event, body.length + EVENT_BYTES, (write) => ({ ...write, event, body, became: 'known' }));
      return became === 'busy' ? putAlone(event, body) : became === 'new';
    },
    async settle(event, consumerId) {
      const { became } = await push(settles, event, EVENT_BYTES, (write) => ({ ...write, event, consumerId, became: 'not claimed' }));
      return became === 'done';
    },
    async close() {
      // a database that is away would keep the process from ending; nobody has been told that these were taken
      const limit = new AbortController();
      const idle = Promise.all([puts.idle(), settles.idle()]);
      await Promise.race([idle, delay(closeMs, undefined, { signal: limit.signal }).catch(() => {})]);
      limit.abort();
      await Promise.all([puts.close(), settles.close()]);
    },
  };
}

const unavailable = () => new StoreError('UNAVAILABLE', 'the database does not take events as they come: send it again');

async function flushPuts(client: pg.Client, all: readonly Put[]): Promise<void> {
  const batch = all.filter(({ isGivenUp }) => !isGivenUp);
  if (batch.length === 0) return;
  const { rows } = await client.query<(EventName & { readonly busy: null }) | { readonly busy: string }>({
    name: statementName(PUT),
    text: PUT,
    values: [
      textArray(batch.map(({ event }) => conversationKey(event))),
      textArray(batch.map(({ event }) => event.platform)),
      textArray(batch.map(({ event }) => event.event_id)),
      textArray(batch.map(({ event }) => event.conversation)),
      jsonArray(batch.map(({ body }) => body)),
    ],
  });
  const busy = new Set<string>();
  const stored = new Set<string>();
  for (const row of rows) {
    if (row.busy === null) stored.add(eventKey(row));
    else busy.add(row.busy);
  }
  for (const write of batch) {
    if (busy.has(conversationKey(write.event))) write.became = 'busy';
    // of two with one id the first was stored
    else write.became = stored.delete(eventKey(write.event)) ? 'new' : 'known';
  }
}

async function flushSettles(client: pg.Client, all: readonly Settle[]): Promise<void> {
  const batch = all.filter(({ isGivenUp }) => !isGivenUp);
  if (batch.length === 0) return;
  const { rows } = await client.query<EventName & { readonly lease_owner: string }>({
    name: statementName(SETTLE),
    text: SETTLE,
    values: [
      textArray(batch.map(({ event }) => event.platform)),
      textArray(batch.map(({ event }) => event.event_id)),
      textArray(batch.map(({ consumerId }) => consumerId)),
    ],
  });
  const over = new Set(rows.map((row) => JSON.stringify([eventKey(row), row.lease_owner])));
  // of two that say the same the first has done it
  for (const write of batch) write.became = over.delete(JSON.stringify([eventKey(write.event), write.consumerId])) ? 'done' : 'not claimed';
}
