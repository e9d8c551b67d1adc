/** Deliveries: one row for each that was accepted, committed before it is answered. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Companion, PruneLog } from '../engine/index.ts';
import {
  isUuid,
  type Queryable,
  type Store,
  type StoreLogEntry,
  binary,
  createWriter,
  type PendingWrite,
  statementName,
} from '../store/index.ts';
import { ensurePartitions, uuidAt, WEEK_MS, weekStart } from '../store/partitions.ts';
import { WebhookError } from './errors.ts';

/** As it is stored. */
export interface DeliveryRow {
  readonly deliveryId: string;
  readonly slug: string;
  readonly workflow: string;
  readonly receivedAt: number;
  readonly triggerKey: string;
  readonly runId: string;
  readonly created: boolean;
  readonly method: string;
  readonly sourceIp: string | null;
  readonly contentType: string | null;
  readonly bodySha256: Buffer;
  readonly bodyBytes: number;
  readonly provider: string | null;
  readonly event: string | null;
  readonly redeliveryOf: string | null;
}

/** As it is shown. */
export interface DeliveryView {
  readonly delivery_id: string;
  readonly slug: string;
  readonly workflow_name: string;
  readonly received_at: string;
  readonly trigger_key: string;
  readonly run_id: string;
  /** False when an earlier delivery with the same trigger key had started the run. */
  readonly created: boolean;
  readonly method: string;
  readonly source_ip: string | null;
  readonly content_type: string | null;
  readonly body_sha256: string;
  readonly body_bytes: number;
  readonly provider: string | null;
  readonly event: string | null;
  readonly redelivery_of: string | null;
}

export interface DeliveryFilter {
  readonly slug?: string | undefined;
  /** Only those of these workflows. */
  readonly workflows?: readonly string[] | undefined;
  /** Cursor of an earlier answer; they are listed newest first. */
  readonly after?: string | undefined;
  /** Default 50. */
  readonly limit?: number | undefined;
}

export interface Deliveries {
  /** Of a delivery whose run was there before. Resolves when it is committed. */
  add(row: DeliveryRow): Promise<void>;
  /** @throws WebhookError DELIVERY_NOT_FOUND */
  get(deliveryId: string): Promise<DeliveryView>;
  list(filter: DeliveryFilter): Promise<{ readonly items: readonly DeliveryView[]; readonly next: string | null }>;
  close(): Promise<void>;
}

const TABLE = 'webhook_deliveries';
const UPKEEP_MS = 6 * 3_600_000;
const LISTED = 50;
const CLOSE_MS = 5000;

export interface DeliveriesOptions {
  readonly store: Store;
  readonly log: (entry: StoreLogEntry) => void;
  readonly retentionDays: number;
  /** Hears what retention deletes. */
  readonly audit?: PruneLog | undefined;
  /** How long closing waits for what is not committed. Default 5,000. */
  readonly closeMs?: number;
}

export async function createDeliveries({ store, log, retentionDays, audit, closeMs = CLOSE_MS }: DeliveriesOptions): Promise<Deliveries> {
  await ensurePartitions(store, [TABLE], store.now());
  const tidy = (work: () => Promise<unknown>) =>
    work().catch((error: Error) => log({ level: 'warn', message: 'tidying up the deliveries failed; trying again', error: error.message }));
  const drop = () => tidy(() => dropOldDeliveries(store, { retentionDays, audit, now: new Date(store.now()) }));
  // processes that never live for six hours drop the old weeks, too
  await drop();
  const upkeep = setInterval(() => {
    void drop();
    void tidy(() => ensurePartitions(store, [TABLE], store.now()));
  }, UPKEEP_MS);
  upkeep.unref();
  const writer = createWriter<Write>({
    connect: () => store.connect('deliveries'),
    flush: (client, batch) => insert(client, batch),
    async committed(client, batch) {
      const { rowCount } = await client.query(`select 1 from ${TABLE} where delivery_id = $1`, [batch[0]?.row.deliveryId]);
      return rowCount !== 0;
    },
    isFatal: () => false,
    log,
  });

  return {
    async add(row) {
      await writer.room();
      await new Promise<void>((resolve, reject) =>
        writer.push({
          row,
          group: row.deliveryId,
          bytes: 300,
          settle: (error) => (error === undefined ? resolve() : reject(error)),
        }),
      );
    },
    async get(deliveryId) {
      const { rows } = isUuid(deliveryId)
        ? await store.query<Stored>(`select * from ${TABLE} where delivery_id = $1`, [deliveryId])
        : { rows: [] };
      if (rows[0] === undefined)
        throw new WebhookError('DELIVERY_NOT_FOUND', `there is no delivery ${JSON.stringify(deliveryId)}, or its retention has passed`);
      return toView(rows[0]);
    },
    async list({ slug, workflows, after, limit = LISTED }) {
      // only what is asked for: a condition that may be off keeps the planner from the index of the one that is on
      const conditions: readonly (readonly [sql: string, value: unknown])[] = [
        ['slug = $', slug],
        ['workflow_name = any($::text[])', workflows],
        ['delivery_id < $::uuid', after],
      ];
      const given = conditions.filter(([, value]) => value !== undefined);
      const where = given.map(([sql], i) => sql.replace('$', `$${i + 1}`));
      const { rows } = await store.query<Stored>(
        `select * from ${TABLE} ${where.length === 0 ? '' : `where ${where.join(' and ')}`} order by delivery_id desc limit $${given.length + 1}`,
        [...given.map(([, value]) => value), limit + 1],
      );
      const items = rows.slice(0, limit).map(toView);
      return { items, next: rows.length > limit ? (items.at(-1)?.delivery_id ?? null) : null };
    },
    async close() {
      clearInterval(upkeep);
      // a database that is away would keep the process from ending; nobody has been told that these were accepted
      const limit = new AbortController();
      await Promise.race([writer.idle(), delay(closeMs, undefined, { signal: limit.signal }).catch(() => {})]);
      limit.abort();
      await writer.close();
    },
  };
}

/**
 * Drops the weeks that ended before the time of retention. One process does it; a table in use is left for the next time, and one
 * with deliveries that a legal hold keeps is emptied around them.
 */
export async function dropOldDeliveries(
  store: Store,
  { retentionDays, now, audit }: { readonly retentionDays: number; readonly now: Date; readonly audit?: PruneLog | undefined },
): Promise<{ readonly dropped: readonly string[]; readonly rows: number }> {
  const cutoff = now.getTime() - retentionDays * 86_400_000;
  const { rows } = await store.query<{ name: string }>(
    `select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = '${TABLE}'::regclass`,
  );
  const old = rows.flatMap(({ name }) => (weekOf(name) + WEEK_MS < cutoff ? [name] : [])).toSorted();
  const dropped: string[] = [];
  let count = 0;
  const writeDown = (tx: Queryable, deliveries: number, partition: string) =>
    audit?.append(tx, {
      action: 'data.prune',
      actor: 'system',
      resource: 'webhook_deliveries',
      details: { days: retentionDays, deliveries, partition },
    });
  for (const name of old) {
    const gone = await dropTable(store, name, writeDown);
    if (gone.dropped) dropped.push(name);
    count += gone.rows;
  }
  await store.query(
    `delete from ${TABLE} where tableoid = to_regclass('${TABLE}_default') and delivery_id < $1 and run_id not in (select run_id from held_runs)`,
    [uuidAt(cutoff)],
  );
  return { dropped, rows: count };
}

/** Monday of a partition; a time that never comes for the default one. */
function weekOf(name: string): number {
  const day = /_(\d{4})(\d\d)(\d\d)$/.exec(name);
  return day === null ? Number.POSITIVE_INFINITY : weekStart(Date.UTC(Number(day[1]), Number(day[2]) - 1, Number(day[3])));
}

async function dropTable(
  store: Store,
  name: string,
  writeDown: (tx: Queryable, deliveries: number, partition: string) => Promise<unknown> | undefined,
): Promise<{ readonly dropped: boolean; readonly rows: number }> {
  try {
    return await store.transaction(async (tx: Queryable) => {
      await tx.query(`set local lock_timeout = '200ms'`);
      // another process may have dropped it, or be about to
      await tx.query('select pg_advisory_xact_lock(hashtext($1))', [name]);
      await tx.query('select lock_holds()');
      const { rows: there } = await tx.query<{ there: boolean }>('select to_regclass($1) is not null as there', [name]);
      if (there[0]?.there !== true) return { dropped: false, rows: 0 };
      const { rowCount } = await tx.query(`delete from ${name} where run_id not in (select run_id from held_runs)`);
      if (rowCount > 0) await writeDown(tx, rowCount, name);
      const { rows: left } = await tx.query(`select 1 from ${name} limit 1`);
      if (left.length > 0) return { dropped: false, rows: rowCount };
      await tx.query(`drop table if exists ${name}`);
      return { dropped: true, rows: rowCount };
    });
  } catch (error) {
    // a writer holds the table: the next round tries again
    if ((error as { code?: string }).code === '55P03') return { dropped: false, rows: 0 };
    throw error;
  }
}

interface Write extends PendingWrite {
  readonly row: DeliveryRow;
}

const COLUMNS = `delivery_id, slug, workflow_name, received_at, trigger_key, run_id, created, method, source_ip, content_type, body_sha256,
    body_bytes, provider, event, redelivery_of`;

/** `$` is the next parameter, or the number of it. */
const inserting = (place: (n: number) => string): string => {
  const types = 'uuid text text timestamptz text uuid int2 text text text bytea int4 text text uuid'.split(' ');
  return `insert into ${TABLE} (${COLUMNS})
  select delivery_id, slug, workflow_name, received_at, trigger_key, u.run_id, created = 1, method, source_ip::inet,
    content_type, body_sha256, body_bytes, provider, event, redelivery_of
  from unnest(${types.map((type, i) => `${place(i + 1)}::${type}[]`).join(', ')}) as u(${COLUMNS})`;
};
const INSERT = inserting((n) => `$${n}`);

/** With the run that it starts: both are there, or neither. */
export const DELIVERY: Companion<Omit<DeliveryRow, 'runId' | 'created'>> = {
  sql: `delivery as (${inserting(() => '$')} join started on started.run_id = u.run_id)`,
  params: (rows) => columnsOf(rows.map(({ runId, row }) => ({ ...row, runId, created: true }))),
};

async function insert(client: Awaited<ReturnType<Store['connect']>>, batch: readonly Write[]): Promise<void> {
  await client.query({ name: statementName(INSERT), text: INSERT, values: columnsOf(batch.map(({ row }) => row)) });
}

function columnsOf(rows: readonly DeliveryRow[]): unknown[] {
  const { uuidArray, textArray, timestampArray, int2Array, int4Array, byteaArray } = binary;
  return [
    uuidArray(rows.map((row) => row.deliveryId)),
    textArray(rows.map((row) => row.slug)),
    textArray(rows.map((row) => row.workflow)),
    timestampArray(rows.map((row) => row.receivedAt)),
    textArray(rows.map((row) => row.triggerKey)),
    uuidArray(rows.map((row) => row.runId)),
    int2Array(rows.map((row) => (row.created ? 1 : 0))),
    textArray(rows.map((row) => row.method)),
    textArray(rows.map((row) => row.sourceIp)),
    textArray(rows.map((row) => row.contentType)),
    byteaArray(rows.map((row) => row.bodySha256)),
    int4Array(rows.map((row) => row.bodyBytes)),
    textArray(rows.map((row) => row.provider)),
    textArray(rows.map((row) => row.event)),
    uuidArray(rows.map((row) => row.redeliveryOf)),
  ];
}

interface Stored extends Omit<DeliveryView, 'received_at' | 'body_sha256'> {
  readonly received_at: number;
  readonly body_sha256: Buffer;
}

function toView(row: Stored): DeliveryView {
  return { ...row, received_at: new Date(row.received_at).toISOString(), body_sha256: row.body_sha256.toString('hex') };
}
