/** Appending: inside somebody's transaction, or by itself in groups. There is no other way into the log. */
import type pg from 'pg';
import { binary, createWriter, type PendingWrite, type Queryable, statementName, type Store, type StoreLogEntry } from '../store/index.ts';
import { type AuditEntry, type AuditRow, toRow } from './entry.ts';

const { byteaArray, textArray, uuidArray } = binary;

export interface AuditLog {
  /** In the caller's transaction: both commit, or neither. Answers the entry's id. */
  append(tx: Queryable, entry: AuditEntry): Promise<string>;
  /** By itself; resolves when it is committed. Many at once share a commit. */
  write(entry: AuditEntry): Promise<string>;
  /**
   * By itself and within some milliseconds: for what nobody waits for. It gathers, so that it neither delays those who do
   * wait nor costs a commit of its own. What was written in the last second may be lost when the database server dies.
   */
  writeSoon(entry: AuditEntry): Promise<string>;
  /** Entries that are not committed yet. */
  readonly queued: number;
  idle(): Promise<void>;
  close(): Promise<void>;
}

export interface AuditLogOptions {
  readonly store: Store;
  /** 32 bytes that are not in the database. */
  readonly macKey: Buffer;
  readonly log?: (entry: StoreLogEntry) => void;
  /** Called after each append: there is something to seal. */
  readonly onAppend?: () => void;
  readonly scrub?: (text: string) => string;
  /** Called with each entry before it is written. */
  readonly onEntry?: (entry: AuditEntry) => void;
}

/** Many outcomes share a commit; one that is lost with the process leaves its intent without an outcome, which shows. */
const GATHER_MS = 20;

const COLUMNS = 'audit_id, action, actor, resource, decision, intent_id, lease_id, run_id, thread_key, trace_id, entry, mac, leaf';

const INSERT = `insert into audit_log (${COLUMNS})
  select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::uuid[], $9::text[], $10::uuid[],
    $11::text[], $12::bytea[], $13::bytea[]) on conflict do nothing`;

interface Pending extends PendingWrite {
  readonly row: AuditRow;
}

export function createAuditLog(options: AuditLogOptions): AuditLog {
  const { store, macKey, scrub } = options;
  const onAppend = options.onAppend ?? (() => {});
  const openWriter = (name: string, settings?: string) =>
    createWriter<Pending>({
      async connect() {
        const client = await store.connect(name);
        if (settings !== undefined) await client.query(settings);
        return client;
      },
      flush: (client, batch) =>
        insert(
          client,
          batch.map((pending) => pending.row),
        ),
      // whether it had committed does not matter: an entry that is there is not written again
      committed: async () => false,
      isFatal: () => false,
      log: options.log ?? (() => {}),
    });
  const writer = openWriter('audit');
  // its commits do not hold up the disk for those that somebody waits for; Postgres writes them out within the second
  const later = openWriter('audit outcomes', 'set synchronous_commit = off');
  let gathered: Pending[] = [];
  let timer: NodeJS.Timeout | undefined;

  function pushGathered(): void {
    clearTimeout(timer);
    timer = undefined;
    const all = gathered;
    gathered = [];
    for (const pending of all) later.push(pending);
  }

  function toPending(entry: AuditEntry, take: (pending: Pending) => void): Promise<string> {
    options.onEntry?.(entry);
    const row = toRow(entry, macKey, store.now(), scrub);
    return new Promise((resolve, reject) => {
      take({
        row,
        group: row.auditId,
        bytes: row.entry.length + 300,
        settle(error) {
          if (error !== undefined) return reject(error);
          onAppend();
          resolve(row.auditId);
        },
      });
    });
  }

  return {
    async append(tx, entry) {
      options.onEntry?.(entry);
      const row = toRow(entry, macKey, store.now(), scrub);
      await tx.query(INSERT, parameters([row]));
      onAppend();
      return row.auditId;
    },
    write: (entry) => toPending(entry, writer.push),
    writeSoon: (entry) =>
      toPending(entry, (pending) => {
        gathered.push(pending);
        timer ??= setTimeout(pushGathered, GATHER_MS);
      }),
    get queued() {
      return writer.queued + later.queued + gathered.length;
    },
    async idle() {
      pushGathered();
      await Promise.all([writer.idle(), later.idle()]);
    },
    async close() {
      pushGathered();
      await Promise.all([writer.idle(), later.idle()]);
      await Promise.all([writer.close(), later.close()]);
    },
  };
}

async function insert(client: pg.Client, rows: readonly AuditRow[]): Promise<void> {
  await client.query({ name: statementName(INSERT), text: INSERT, values: parameters(rows) });
}

function parameters(rows: readonly AuditRow[]): unknown[] {
  return [
    uuidArray(rows.map((row) => row.auditId)),
    textArray(rows.map((row) => row.action)),
    textArray(rows.map((row) => row.actor)),
    textArray(rows.map((row) => row.resource)),
    textArray(rows.map((row) => row.decision)),
    uuidArray(rows.map((row) => row.intentId)),
    uuidArray(rows.map((row) => row.leaseId)),
    uuidArray(rows.map((row) => row.runId)),
    textArray(rows.map((row) => row.threadKey)),
    uuidArray(rows.map((row) => row.traceId)),
    textArray(rows.map((row) => row.entry)),
    byteaArray(rows.map((row) => row.mac)),
    byteaArray(rows.map((row) => row.leaf)),
  ];
}
