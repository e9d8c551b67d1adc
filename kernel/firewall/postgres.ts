/**
 * Postgres for whoever has a lease: a listener that speaks its protocol. The password says which door the client is at: the
 * placeholder of a database that is a secret, or the token of a workflow that has a schema of its own. Behind either stands
 * a role that was made for the lease, may become one role that stays and do nothing else, and ends with the lease.
 *
 * What passes is the session as it is, searched for secrets in both directions. Who may read or write what is the
 * database's business: it knows its tables better than any parser between them.
 */
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import pg from 'pg';
import type { Store } from '../store/index.ts';
import type { Values } from '../vault/index.ts';
import type { Channel, Parts } from './exchange.ts';
import { asOwner, createLeaseRoles, SESSIONS_MOST } from './lease-roles.ts';
import type { Admission, Door } from './postgres-door.ts';
import { openSecretDoor } from './postgres-secret.ts';
import { createReader, greeting, type Reader, readPassword, readStartup, refuse } from './postgres-wire.ts';
import { createWorkflowDoors, WORKFLOW_USER } from './postgres-workflow.ts';
import { callIds, causeOf, outcome, recordIntent, recordRefusal } from './records.ts';
import { toRefusal } from './refusals.ts';
import { RefusedError } from './target.ts';

const HANDSHAKE_MS = 15_000;
/** Settings that a client may ask for when it connects. */
const FORWARDED = new Set([
  'application_name',
  'client_encoding',
  'datestyle',
  'timezone',
  'extra_float_digits',
  'search_path',
  'statement_timeout',
]);

export interface PostgresListener {
  listen(address: { readonly host: string; readonly port: number }): Promise<{ readonly port: number }>;
  close(): Promise<void>;
}

/** What there is of a client until its session is open. */
interface Caller {
  readonly socket: net.Socket;
  readonly reader: Reader;
  readonly startup: ReadonlyMap<string, string>;
  /** It is in: nobody waits for its handshake any more. One that is refused has the rest of that time to hear it, and go. */
  readonly settled: () => void;
}

export function createPostgresListener(parts: Parts, values: Values, store: Store): PostgresListener {
  const roles = createLeaseRoles(parts.log);
  const workflows = createWorkflowDoors(parts, store);
  /** By the key that the client was told: how to cancel what its session does. */
  const sessions = new Map<string, () => void>();
  const open = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    open.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined).once('close', () => open.delete(socket));
    void serve(socket);
  });

  async function serve(socket: net.Socket): Promise<void> {
    const peer = socket.remoteAddress ?? '';
    let channel: Channel | undefined;
    const timer = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
    const settled = () => clearTimeout(timer);
    socket.once('close', settled);
    try {
      const reader = createReader(socket);
      const startup = await readStartup(reader, socket, (key) => sessions.get(key)?.());
      if (startup === undefined) return void socket.destroy();
      const password = await readPassword(reader, socket);
      const door = await openDoor(startup.get('user'), password, peer);
      ({ channel } = door);
      const admission = await door.admit(() => socket.destroyed);
      try {
        await connect({ socket, reader, startup, settled }, door.channel, admission);
      } catch (error) {
        admission.left?.();
        throw error;
      }
    } catch (error) {
      const refusal = toRefusal(error);
      await recordRefusal(parts, refusal, { method: 'CONNECT', url: '', peer, channel });
      refuse(socket, refusal);
    }
  }

  function openDoor(user: string | undefined, password: string, peer: string): Promise<Door> {
    return user === WORKFLOW_USER ? workflows.open(password, peer) : openSecretDoor(parts, values, password, peer);
  }

  /** @throws RefusedError before the audit entry; from then on its outcome tells, and the client is told here */
  async function connect({ socket, reader, startup, settled }: Caller, { lease }: Channel, admission: Admission): Promise<void> {
    const began = performance.now();
    const calls = await parts.leases.callsOf(lease, 'secrets');
    await parts.leases.consume(lease);
    const intent = {
      action: 'egress.intent',
      actor: lease.principal,
      resource: admission.resource,
      decision: 'allow' as const,
      ...causeOf(lease, calls),
      details: { via: 'postgres', ...callIds(calls), ...admission.details },
    };
    const intentId = await recordIntent(parts, intent);
    const bytes = { up: 0, down: 0 };
    let client: pg.Client | undefined;
    let ended = false;
    const finish = (error?: unknown) => {
      if (ended) return;
      ended = true;
      lease.open.delete(cut);
      lease.withSecrets.delete(cut);
      admission.left?.();
      const refusal = error === undefined ? undefined : refusalOf(error);
      outcome(parts, intent, intentId, {
        bytes: bytes.down,
        bytes_sent: bytes.up,
        ms: Math.round(performance.now() - began),
        ...(refusal === undefined ? {} : { error: refusal.code, ...refusal.details }),
      });
      if (refusal === undefined) socket.destroy();
      else refuse(socket, refusal);
      (client as unknown as { connection?: { stream?: net.Socket } } | undefined)?.connection?.stream?.destroy();
    };
    const cut = () => finish(new RefusedError(407, 'LEASE_REVOKED', 'the lease ended'));
    lease.open.add(cut);
    lease.withSecrets.add(cut);
    socket.once('close', () => finish());
    try {
      // it may have ended before anybody could cut this
      await parts.leases.check(lease);
      const role = await roles.of(lease, admission);
      const settings = new Map<string, string>();
      client = new pg.Client(admission.session(role));
      client.on('error', (error) => finish(error));
      const { connection } = client as unknown as { connection: net.Socket & { stream: net.Socket } };
      connection.on('parameterStatus', ({ parameterName, parameterValue }: { parameterName: string; parameterValue: string }) =>
        settings.set(parameterName, parameterValue),
      );
      await client.connect();
      for (const [name, value] of startup) {
        if (FORWARDED.has(name.toLowerCase()) && name.toLowerCase() !== 'client_encoding')
          await client.query(`select set_config($1, $2, false)`, [name, value]);
      }
      const { stream } = connection;
      // from here on the session is the client's: the driver must neither read nor answer
      connection.removeAllListeners();
      stream.removeAllListeners();
      // the lease may have ended, or the client gone, while it was being opened
      if (ended) return void stream.destroy();
      const key = randomBytes(8);
      sessions.set(key.toString('hex'), () => void cancel(admission, client as pg.Client));
      socket.once('close', () => sessions.delete(key.toString('hex')));
      settled();
      socket.write(greeting(settings, key));
      relay(socket, reader, stream, bytes, finish);
    } catch (error) {
      finish(error);
    }
  }

  function relay(
    socket: net.Socket,
    reader: Reader,
    stream: net.Socket,
    bytes: { up: number; down: number },
    finish: (error?: unknown) => void,
  ): void {
    const scanner = parts.scanner();
    const up = scanner.open();
    const down = scanner.open();
    const pass = (from: net.Socket, to: net.Socket, scan: (chunk: Buffer) => Buffer) => {
      from.on('data', (chunk: Buffer) => {
        try {
          const clean = scan(chunk);
          if (clean.length > 0 && !to.write(clean)) {
            from.pause();
            to.once('drain', () => from.resume());
          }
        } catch (error) {
          finish(error);
        }
      });
      from.once('end', () => finish()).once('close', () => finish());
      from.on('error', finish);
      from.resume();
    };
    const upward = (chunk: Buffer) => {
      bytes.up += chunk.length;
      const clean = up.push(chunk);
      if (up.hits.length > 0)
        throw new RefusedError(403, 'SECRET_IN_REQUEST', 'a statement has the real value of a secret in it', {
          leaks: up.hits,
          alert: true,
        });
      return clean;
    };
    pass(stream, socket, (chunk) => {
      bytes.down += chunk.length;
      const clean = down.push(chunk);
      if (down.hits.length > 0 && parts.rules().scan.action === 'block')
        throw new RefusedError(502, 'SECRET_IN_ANSWER', 'a result had a secret in it', { leaks: down.hits, alert: true });
      return clean;
    });
    const rest = reader.release();
    pass(socket, stream, upward);
    if (rest.length > 0) stream.write(upward(rest));
  }

  return {
    listen: (address) =>
      new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen(address, () => {
          server.off('error', reject);
          resolve({ port: (server.address() as net.AddressInfo).port });
        });
      }),
    async close() {
      workflows.close();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of open) socket.destroy();
      await closed;
      await roles.settled();
    },
  };
}

async function cancel(admission: Admission, client: pg.Client): Promise<void> {
  const { processID } = client as unknown as { processID?: number };
  if (processID === undefined) return;
  await asOwner(admission, async (owner) => void (await owner.query('select pg_cancel_backend($1)', [processID]))).catch(() => undefined);
}

/** What Postgres says of a session that it does not open. */
function refusalOf(error: unknown): RefusedError {
  if ((error as { code?: string }).code === '53300' && !(error instanceof RefusedError))
    return new RefusedError(503, 'TOO_MANY_SESSIONS', `the lease has ${SESSIONS_MOST} sessions already, or the server no room for more`);
  return toRefusal(error);
}
