/**
 * The leases that are in use here. Whether one still holds is asked of Postgres at every change that it tells of, and twice a second: what is
 * open is cut by the answer. A request is let through on an answer that was asked for when it came, or a second before at most, and without Postgres on none;
 * what is open then stays so until Postgres answers, or the lease is over.
 */
import { BlockList, isIP } from 'node:net';
import type { Store, StoreLogEntry } from '../store/index.ts';
import { hashToken, type LeaseKind, type OpenCall, openCalls, type Opening, readOpenings, withOpenCalls } from '../vault/index.ts';
import { parseCidr, unwrap } from './addresses.ts';
import { RefusedError } from './target.ts';

export interface LiveLease {
  readonly leaseId: string;
  readonly kind: LeaseKind;
  readonly principal: string;
  readonly onBehalfOf: string | null;
  /** These change with each turn that goes on in the same sandbox. */
  runId: string | null;
  traceId: string | null;
  /** Who asked for the turn, and in which channel: for another it is another lease. */
  readonly user: string | null;
  readonly channel: string | null;
  readonly step: string | null;
  readonly threadKey: string | null;
  readonly maxUses: number | null;
  readonly expiresAt: number;
  /** Secret by placeholder. */
  readonly placeholders: ReadonlyMap<string, string>;
  readonly source: BlockList | undefined;
  /** What alone it reaches, for its whole life. */
  readonly egress: readonly Opening[] | undefined;
  revoked: boolean;
  /** Moment of the last answer from Postgres, on the monotonic clock. */
  checkedAt: number;
  usedAt: number;
  /** Of a tool's process: when Postgres was last asked and said that a call was open. */
  calledAt: number;
  /** Requests under way. */
  busy: number;
  /** What is cut when the lease ends. */
  readonly open: Set<() => void>;
  /** Those of them that use a secret: of a tool's process they end with its calls. */
  readonly withSecrets: Set<() => void>;
}

export interface LeaseBook {
  /** @throws RefusedError 407, 503 */
  byToken(token: string, peer: string): Promise<LiveLease>;
  /** For clients that send a placeholder and nothing else; undefined when none of the words is one. @throws RefusedError 407, 503 */
  byPlaceholder(words: readonly string[], peer: string): Promise<LiveLease | undefined>;
  /** Before each use: that it is neither revoked nor over. @throws RefusedError 407, 503 */
  check(lease: LiveLease): Promise<void>;
  /** The same, when a request begins, and whose turn it is part of: one of a thread goes on with the next turn. @throws RefusedError 407, 503 */
  checkTurn(lease: LiveLease): Promise<void>;
  /** The same, as it is now: after a person was waited for. @throws RefusedError 407, 503 */
  checkNow(lease: LiveLease): Promise<void>;
  /** Takes one of a limited number of uses. @throws RefusedError 407 */
  consume(lease: LiveLease): Promise<void>;
  /**
   * The calls that the tool's process has to serve, of a lease that is one's; undefined: it is nobody's, or none of that kind. Without a
   * call there are no secrets.
   *
   * @throws RefusedError 403, 503
   */
  callsOf(lease: LiveLease, needs: 'secrets' | 'nothing'): Promise<readonly OpenCall[] | undefined>;
  /** The leases whose placeholders these are. */
  ownersOf(words: readonly string[]): Promise<readonly { readonly leaseId: string; readonly secret: string; readonly word: string }[]>;
  /** Something changed: a look that begins from now on. */
  refresh(): Promise<void>;
  readonly size: number;
  close(): void;
}

const FRESH_MS = 500;
const FORGET_MS = 60_000;
/** A database that is silent for longer is as good as gone. */
const ANSWER_MS = 3000;
const UNKNOWN_MOST = 10_000;
const UNKNOWN_MS = 5_000;

const SELECT = `select l.lease_id, l.kind, l.principal, l.on_behalf_of, l.run_id, l.step, l.thread_key, l.trace_id, l.max_uses, l.expires_at, l.revoked_at, l.source::text as source, l.egress, l.user_name, l.channel,
    array(select s.placeholder from lease_secrets s where s.lease_id = l.lease_id order by s.secret) as placeholders,
    array(select s.secret from lease_secrets s where s.lease_id = l.lease_id order by s.secret) as secrets
  from leases l`;

interface Row {
  readonly lease_id: string;
  readonly kind: LeaseKind;
  readonly principal: string;
  readonly on_behalf_of: string | null;
  readonly run_id: string | null;
  readonly step: string | null;
  readonly thread_key: string | null;
  readonly trace_id: string | null;
  readonly max_uses: number | null;
  readonly expires_at: number;
  readonly revoked_at: number | null;
  readonly source: string | null;
  readonly egress: string | null;
  readonly user_name: string | null;
  readonly channel: string | null;
  readonly placeholders: readonly string[];
  readonly secrets: readonly string[];
}

/** What may change. */
type LookedAt = Pick<Row, 'lease_id' | 'expires_at' | 'revoked_at' | 'run_id' | 'trace_id'>;

export interface LeaseBookOptions {
  readonly store: Store;
  readonly log: (entry: StoreLogEntry) => void;
  /** Before a lease is used here for the first time: its secrets may be as new as it is. */
  readonly learn?: (secrets: Iterable<string>) => Promise<void>;
}

export function createLeaseBook({ store, log, learn }: LeaseBookOptions): LeaseBook {
  const byHash = new Map<string, LiveLease>();
  const byId = new Map<string, LiveLease>();
  /** Words that are no placeholder, so that each is asked about once. */
  const strangers = new Map<string, number>();
  let refreshing: Promise<void> | undefined;
  const timer = setInterval(() => {
    if (byId.size > 0) void looked().catch(() => undefined);
    cutExpired();
  }, FRESH_MS);
  timer.unref();

  async function load(where: string, value: unknown, peer: string): Promise<LiveLease | undefined> {
    const asked = performance.now();
    const { rows } = await ask(() => store.query<Row>(`${SELECT} where ${where}`, [value]));
    const [row] = rows;
    if (row === undefined) return undefined;
    const known = byId.get(row.lease_id);
    if (known !== undefined) return admit(known, peer);
    const lease: LiveLease = {
      leaseId: row.lease_id,
      kind: row.kind,
      principal: row.principal,
      onBehalfOf: row.on_behalf_of,
      runId: row.run_id,
      step: row.step,
      threadKey: row.thread_key,
      traceId: row.trace_id,
      user: row.user_name,
      channel: row.channel,
      maxUses: row.max_uses,
      expiresAt: row.expires_at,
      placeholders: new Map(row.placeholders.map((placeholder, i) => [placeholder, row.secrets[i] as string])),
      source: row.source === null ? undefined : sourceList(row.source),
      egress: openingsOf(row),
      revoked: row.revoked_at !== null,
      checkedAt: asked,
      usedAt: performance.now(),
      calledAt: Number.NEGATIVE_INFINITY,
      busy: 0,
      open: new Set(),
      withSecrets: new Set(),
    };
    admit(lease, peer);
    await learn?.(lease.placeholders.values());
    // another request was here first
    const other = byId.get(lease.leaseId);
    if (other !== undefined) return admit(other, peer);
    byId.set(lease.leaseId, lease);
    return lease;
  }

  function admit(lease: LiveLease, peer: string): LiveLease {
    if (lease.revoked) throw refusal('LEASE_REVOKED', 'the lease was revoked', lease);
    if (lease.expiresAt <= store.now()) throw refusal('LEASE_EXPIRED', 'the lease has expired', lease);
    if (lease.source !== undefined) {
      const address = unwrap(peer);
      if (!lease.source.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4'))
        throw refusal('LEASE_ELSEWHERE', 'the lease is not for this sandbox', lease);
    }
    lease.usedAt = performance.now();
    return lease;
  }

  async function ask<T>(question: () => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    try {
      return await Promise.race([
        question(),
        new Promise<never>((_, reject) => {
          timer = setTimeout(() => reject(new Error('it does not answer')), ANSWER_MS);
        }),
      ]);
    } catch (error) {
      throw new RefusedError(503, 'STORE_UNAVAILABLE', 'the firewall cannot reach its database, and refuses until it can', {
        cause: (error as Error).message,
      });
    } finally {
      clearTimeout(timer);
    }
  }

  /** One that is under way is the answer to whoever comes meanwhile. */
  async function looked(): Promise<void> {
    return (refreshing ??= look().finally(() => (refreshing = undefined)));
  }

  async function refresh(): Promise<void> {
    // it may have been answered before what changed
    await refreshing?.catch(() => undefined);
    return looked();
  }

  async function look(): Promise<void> {
    const asked = performance.now();
    for (const lease of byId.values()) if (lease.busy === 0 && lease.open.size === 0 && asked - lease.usedAt > FORGET_MS) forget(lease);
    if (byId.size === 0) return;
    // those that come while Postgres answers are not in its answer
    const known = [...byId.values()];
    // one that never hears an answer must not keep the next one from asking; one that hears it late ends what it says all the same
    await ask(async () => {
      const { rows } = await store.query<LookedAt>(
        'select lease_id, expires_at, revoked_at, run_id, trace_id from leases where lease_id = any($1::uuid[])',
        [known.map(({ leaseId }) => leaseId)],
      );
      take(known, rows, asked);
    });
    // what it does not hear is looked for again; whether a lease holds is known all the same
    await endIdle(known).catch(() => undefined);
  }

  function take(known: readonly LiveLease[], rows: readonly LookedAt[], asked: number): void {
    const found = new Map(rows.map((row) => [row.lease_id, row]));
    for (const lease of known) {
      const row = found.get(lease.leaseId);
      if (row === undefined || row.revoked_at !== null) end(lease);
      else if (asked >= lease.checkedAt) {
        (lease as { expiresAt: number }).expiresAt = row.expires_at;
        lease.runId = row.run_id;
        lease.traceId = row.trace_id;
      }
      lease.checkedAt = Math.max(lease.checkedAt, asked);
    }
  }

  /** What a tool opened with a secret in a call ends with the last call that is under way. Its connections to here stay: they are nothing without one. */
  async function endIdle(known: readonly LiveLease[]): Promise<void> {
    const open = known.filter(({ kind, withSecrets }) => kind === 'tool' && withSecrets.size > 0);
    if (open.length === 0) return;
    const asked = performance.now();
    await ask(async () => {
      const called = await withOpenCalls(store, open);
      // a call may have come while Postgres answered
      for (const lease of open) if (!called.has(lease) && lease.calledAt < asked) for (const cut of Array.from(lease.withSecrets)) cut();
    });
  }

  function end(lease: LiveLease): void {
    if (lease.revoked) return;
    lease.revoked = true;
    if (lease.open.size > 0)
      log({ level: 'info', message: 'a lease ended; its open streams are cut', lease_id: lease.leaseId, streams: lease.open.size });
    cutAll(lease);
  }

  function cutExpired(): void {
    const now = store.now();
    for (const lease of byId.values()) if (lease.expiresAt <= now) cutAll(lease);
  }

  function forget(lease: LiveLease): void {
    byId.delete(lease.leaseId);
    for (const [hash, known] of byHash) if (known === lease) byHash.delete(hash);
  }

  /** @param since an answer that was asked for later is believed */
  async function check(lease: LiveLease, since = performance.now() - 2 * FRESH_MS): Promise<void> {
    // what is under way may have been asked too early
    if (lease.checkedAt < since) await ask(async () => refreshing);
    if (lease.checkedAt < since) await ask(looked);
    if (lease.revoked) throw refusal('LEASE_REVOKED', 'the lease was revoked', lease);
    if (lease.expiresAt <= store.now()) throw refusal('LEASE_EXPIRED', 'the lease has expired', lease);
    lease.usedAt = performance.now();
  }

  return {
    async byToken(token, peer) {
      const hash = hashToken(token);
      const id = hash.toString('base64');
      const known = byHash.get(id);
      if (known !== undefined && byId.has(known.leaseId)) {
        await check(known);
        return admit(known, peer);
      }
      const lease = await load('l.token_hash = $1', hash, peer);
      if (lease === undefined) throw refusal('LEASE_UNKNOWN', 'the lease is not known here');
      byHash.set(id, lease);
      return lease;
    },
    async byPlaceholder(words, peer) {
      for (const word of words) {
        const lease = await load('l.lease_id in (select lease_id from lease_secrets where placeholder = $1)', word, peer);
        if (lease !== undefined) return lease;
      }
      return undefined;
    },
    check: (lease) => check(lease),
    checkTurn: (lease) => check(lease, lease.threadKey === null ? undefined : performance.now()),
    checkNow: (lease) => check(lease, performance.now()),
    async consume(lease) {
      if (lease.maxUses === null) return;
      const { rowCount } = await ask(() =>
        store.query(
          'update leases set used = used + 1 where lease_id = $1 and used < max_uses and revoked_at is null and expires_at > now() returning 1',
          [lease.leaseId],
        ),
      );
      if (rowCount !== 1) throw refusal('LEASE_USED', 'the lease has been used as often as it may be', lease);
    },
    async callsOf(lease, needs) {
      if (lease.kind !== 'tool') return undefined;
      const asked = performance.now();
      const calls = await ask(() => openCalls(store, lease));
      if (calls.length > 0) lease.calledAt = Math.max(lease.calledAt, asked);
      else if (needs === 'secrets')
        throw new RefusedError(403, 'NO_OPEN_CALL', 'the secrets of a tool are given out while it is called, and nobody calls it now', {
          lease_id: lease.leaseId,
          principal: lease.principal,
        });
      return calls;
    },
    async ownersOf(words) {
      const now = performance.now();
      const asked = words.filter((word) => (strangers.get(word) ?? 0) < now);
      if (asked.length === 0) return [];
      const { rows } = await ask(() =>
        store.query<{ lease_id: string; secret: string; placeholder: string }>(
          'select lease_id, secret, placeholder from lease_secrets where placeholder = any($1::text[])',
          [asked],
        ),
      );
      const owned = new Set(rows.map((row) => row.placeholder));
      if (strangers.size > UNKNOWN_MOST) strangers.clear();
      for (const word of asked) if (!owned.has(word)) strangers.set(word, now + UNKNOWN_MS);
      return rows.map((row) => ({ leaseId: row.lease_id, secret: row.secret, word: row.placeholder }));
    },
    refresh,
    get size() {
      return byId.size;
    },
    close() {
      clearInterval(timer);
      for (const lease of byId.values()) cutAll(lease);
    },
  };
}

function refusal(code: string, message: string, lease?: LiveLease): RefusedError {
  return new RefusedError(407, code, message, lease === undefined ? undefined : { lease_id: lease.leaseId, principal: lease.principal });
}

/** @throws RefusedError 407 for what cannot be read: it may be a limit */
function openingsOf({ egress, lease_id: leaseId, principal }: Row): Opening[] | undefined {
  if (egress === null) return undefined;
  try {
    return readOpenings(egress);
  } catch (error) {
    throw new RefusedError(407, 'LEASE_BROKEN', 'what the lease may reach cannot be read, so it reaches nothing', {
      lease_id: leaseId,
      principal,
      cause: (error as Error).message,
    });
  }
}

function sourceList(source: string): BlockList {
  const { address, bits, family } = parseCidr(source);
  const list = new BlockList();
  list.addSubnet(address, bits, family);
  return list;
}

/** A copy: each of them takes itself out. */
function cutAll(lease: LiveLease): void {
  for (const cut of Array.from(lease.open)) cut();
}
