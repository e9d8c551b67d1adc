/**
 * Sealing: what was appended since the last batch becomes the leaves of a Merkle tree, whose root continues a chain of
 * hashes; now and then the end of the chain is signed.
 *
 * Entries are not chained one by one, because a chain makes every writer wait for the one before. A batch takes only
 * transactions that are older than every open one: nothing can appear later in what it covers. Any process that appends
 * seals; an advisory lock lets one at a time.
 */
import { sign, type KeyObject } from 'node:crypto';
import type { Queryable, Store, StoreLogEntry } from '../store/index.ts';
import { batchHash, checkpointText, FIRST_HASH, keyHint, MEMBER_BYTES, merkleRoot } from './offline.ts';

export interface Signer {
  /** Names the installation in checkpoints: no spaces. */
  readonly origin: string;
  readonly privateKey: KeyObject;
  /** 32 bytes. */
  readonly rawPublicKey: Buffer;
}

export interface SealerOptions {
  readonly store: Store;
  readonly signer: Signer;
  /** How long entries may gather before they are sealed, ms. Default 250. */
  readonly delayMs?: number;
  /** A checkpoint is made when the last one is older than this, ms, or this many entries behind. */
  readonly checkpointMs?: number;
  readonly checkpointEntries?: number;
  /** Where checkpoints go besides the database: out of reach of whoever owns it. */
  readonly anchor?: (note: string) => Promise<void>;
  readonly log?: (entry: StoreLogEntry) => void;
}

export interface Sealer {
  /** Something was appended: seal soon. */
  hint(): void;
  /** Seals all that no open transaction holds back, whichever database of the server it is in, and signs a checkpoint. */
  seal(): Promise<void>;
  close(): Promise<void>;
}

const SEAL_LOCK = 7_226_010;
/** Its tree is computed in one go, while requests wait: a millisecond of hashes. */
const BATCH_MAX = 1000;
/** For what other processes appended before they died. */
const SWEEP_MS = 5000;
const FIRST_ID = '00000000-0000-0000-0000-000000000000';

export function createSealer(options: SealerOptions): Sealer {
  const { store, signer } = options;
  const delayMs = options.delayMs ?? 250;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<unknown> | undefined;
  let closed = false;
  const sweep = setInterval(hint, SWEEP_MS);
  sweep.unref();

  function hint(): void {
    if (closed || timer !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      void alone(() => quietly());
    }, delayMs);
    timer.unref();
  }

  /** One at a time in this process. */
  async function alone<T>(work: () => Promise<T>): Promise<T> {
    while (running !== undefined) await running.catch(() => undefined);
    const mine = work();
    running = mine;
    try {
      return await mine;
    } finally {
      running = undefined;
    }
  }

  async function quietly(): Promise<void> {
    if (closed) return;
    try {
      await sealAll('skip');
      await checkpointIfDue();
      if (await isWaiting()) hint();
    } catch (error) {
      options.log?.({ level: 'warn', message: 'sealing the audit log failed; trying again', error: (error as Error).message });
      hint();
    }
  }

  /** When another process is at it: `skip` leaves it to that one. */
  async function sealAll(busy: 'skip' | 'wait'): Promise<void> {
    while ((await sealBatch(store, busy)) === BATCH_MAX);
  }

  /** Whether open transactions, or another sealer, have left something to do. */
  async function isWaiting(): Promise<boolean> {
    const { rows } = await store.query<{ waiting: boolean }>(
      `select exists (select from audit_log a left join lateral (select last_xid, last_id from audit_batches order by n desc limit 1) b on true
         where b.last_xid is null or (a.xid, a.audit_id) > (b.last_xid, b.last_id)) as waiting`,
    );
    return rows[0]?.waiting === true;
  }

  async function checkpointIfDue(when: 'due' | 'now' = 'due'): Promise<void> {
    const { rows } = await store.query<{ n: number; size: number; hash: Buffer; last_size: number | null; age_ms: number | null }>(
      `select b.n, b.size, b.hash, c.size as last_size, extract(epoch from clock_timestamp() - c.created_at)::float8 * 1000 as age_ms
       from (select * from audit_batches order by n desc limit 1) b left join (select * from audit_checkpoints order by n desc limit 1) c on true`,
    );
    const [state] = rows;
    if (state === undefined || state.size === state.last_size) return;
    const behind = state.size - (state.last_size ?? 0);
    const due =
      state.age_ms === null || state.age_ms >= (options.checkpointMs ?? 60_000) || behind >= (options.checkpointEntries ?? 10_000);
    if (!due && when === 'due') return;
    const note = signCheckpoint(signer, state.size, state.hash);
    const { rowCount } = await store.query('insert into audit_checkpoints (n, size, note) values ($1, $2, $3) on conflict do nothing', [
      state.n,
      state.size,
      note,
    ]);
    if (rowCount === 1) await options.anchor?.(note);
  }

  return {
    hint,
    seal: () =>
      alone(async () => {
        await sealAll('wait');
        await checkpointIfDue('now');
      }),
    async close() {
      closed = true;
      clearInterval(sweep);
      clearTimeout(timer);
      while (running !== undefined) await running.catch(() => undefined);
    },
  };
}

/** Seals up to one batch; answers how many entries it took. */
async function sealBatch(store: Store, busy: 'skip' | 'wait'): Promise<number> {
  return store.transaction(async (tx) => {
    if (busy === 'wait') await tx.query('select pg_advisory_xact_lock($1)', [SEAL_LOCK]);
    else {
      const { rows: lock } = await tx.query<{ mine: boolean }>('select pg_try_advisory_xact_lock($1) as mine', [SEAL_LOCK]);
      if (lock[0]?.mine !== true) return 0;
    }
    const before = await lastBatch(tx);
    const { rows } = await tx.query<{ count: number; last_xid: string; last_id: string; members: Buffer }>(
      `with next as (
         select a.xid, a.audit_id, a.leaf from audit_log a
         where (a.xid, a.audit_id) > ($1::xid8, $2::uuid) and a.xid < audit_xmin()
         order by a.xid, a.audit_id limit $3)
       select (select count(*)::int from next) as count, l.xid::text as last_xid, l.audit_id as last_id,
         (select string_agg(uuid_send(audit_id) || leaf, '' order by xid, audit_id) from next) as members
       from next l order by l.xid desc, l.audit_id desc limit 1`,
      [before?.last_xid ?? '0', before?.last_id ?? FIRST_ID, BATCH_MAX],
    );
    const [next] = rows;
    if (next === undefined) return 0;
    const batch = {
      n: (before?.n ?? 0) + 1,
      size: (before?.size ?? 0) + next.count,
      lastXid: next.last_xid,
      lastId: next.last_id,
      root: merkleRoot(leavesOf(next.members)),
      prevHash: before?.hash ?? FIRST_HASH,
    };
    await tx.query(
      `insert into audit_batches (n, count, size, last_xid, last_id, root, prev_hash, hash, members) values ($1, $2, $3, $4::xid8, $5, $6, $7, $8, $9)`,
      [batch.n, next.count, batch.size, batch.lastXid, batch.lastId, batch.root, batch.prevHash, batchHash(batch), next.members],
    );
    return next.count;
  });
}

/**
 * Numbers of transactions begin anew on another server: after a restore from a dump, what is appended would sort before
 * what is sealed, and never be sealed itself. This shifts the numbers that entries get beyond all that are there. To be
 * called before the first append of a process; on the server that the log has always been on it changes nothing.
 */
export async function continueOrder(store: Pick<Store, 'transaction'>): Promise<void> {
  await store.transaction(async (tx) => {
    await tx.query('select pg_advisory_xact_lock($1)', [SEAL_LOCK]);
    await tx.query(
      `select setval('audit_xid_shift', greatest(coalesce((select a.xid from audit_log a order by a.xid desc, a.audit_id desc limit 1), '0'::xid8),
         coalesce((select b.last_xid from audit_batches b order by b.n desc limit 1), '0'::xid8))::text::bigint)
       where greatest((select a.xid from audit_log a order by a.xid desc, a.audit_id desc limit 1),
         (select b.last_xid from audit_batches b order by b.n desc limit 1)) >= audit_xmax()`,
    );
  });
}

function leavesOf(members: Buffer): Buffer[] {
  return Array.from({ length: members.length / MEMBER_BYTES }, (_, i) => members.subarray(i * MEMBER_BYTES + 16, (i + 1) * MEMBER_BYTES));
}

async function lastBatch(on: Queryable) {
  const { rows } = await on.query<{ n: number; size: number; last_xid: string; last_id: string; hash: Buffer }>(
    'select n, size, last_xid::text as last_xid, last_id, hash from audit_batches order by n desc limit 1',
  );
  return rows[0];
}

export function signCheckpoint(signer: Signer, size: number, hash: Buffer): string {
  const text = checkpointText(signer.origin, size, hash);
  const signature = Buffer.concat([keyHint(signer.origin, signer.rawPublicKey), sign(null, Buffer.from(text), signer.privateKey)]);
  return `${text}\n— ${signer.origin} ${signature.toString('base64')}\n`;
}
