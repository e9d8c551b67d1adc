/** An installation whose worker makes rotations, for tests. */
import { randomBytes } from 'node:crypto';
import { createTestEngine, type TestEngine } from './engine.ts';
import type { RunDetail } from '../../kernel/engine/index.ts';
import type { EgressConfig } from '../../kernel/firewall/index.ts';
import { createRotations } from '../../kernel/rotation/index.ts';
import {
  askRotation,
  createValues,
  getSecret,
  type Installation,
  localMasterKey,
  openInstallation,
  putSecret,
  runOfRotation,
  type SecretRequest,
  type SecretView,
} from '../../kernel/vault/index.ts';
import { rotateWorkflow } from '../../runtime/rotation/index.ts';

export const QUICKLY = { maxAttempts: 2, delay: 20 };

export interface TestRotations extends AsyncDisposable {
  readonly t: TestEngine;
  readonly installation: Installation;
  readonly masterKey: Buffer;
  put(name: string, request: SecretRequest): Promise<SecretView>;
  secret(name: string): Promise<SecretView>;
  /** What may be dialled, from then on. */
  configure(config: EgressConfig): Promise<void>;
  /** Asks for one and starts its run. */
  ask(name: string, actor?: string): Promise<string>;
  /** The same, and waits for the end of the run. */
  rotate(name: string): Promise<RunDetail>;
  /** Of the firewall's memory: the value that is given out, and those that are looked for. */
  values(name: string): Promise<{ readonly present: string; readonly known: readonly string[] }>;
  /** Actions of the log, in their order. */
  actions(name: string): Promise<string[]>;
  /** All that the database holds, as text. */
  dump(): Promise<string>;
}

/** @param idle no worker: those of other processes do the work */
export async function createTestRotations(idle?: 'idle'): Promise<TestRotations> {
  const t = await createTestEngine({ idle: idle === 'idle' });
  const masterKey = randomBytes(32);
  const installation = await openInstallation({ store: t.store, master: localMasterKey(masterKey), seal: { delayMs: 3_600_000 } });
  const { name, handler } = rotateWorkflow(createRotations({ ...installation, log: (entry) => t.logs.push(entry) }), QUICKLY);
  t.registry.define(name, handler);
  const ask = async (secret: string, actor = 'user:ann') =>
    (await t.engine.start(runOfRotation(await askRotation(installation, secret, actor)))).run_id;
  return {
    t,
    installation,
    masterKey,
    put: (secret, request) => putSecret(installation, 'user:admin', secret, request),
    secret: (secret) => getSecret(t.store, secret),
    configure: (config) =>
      t.store.transaction(async (tx) => {
        const auditId = await installation.audit.append(tx, { action: 'egress.configure', actor: 'test' });
        await tx.query('insert into firewall_configs (digest, config, audit_id) values ($1, $2, $3)', [
          Buffer.alloc(32),
          JSON.stringify(config),
          auditId,
        ]);
      }),
    ask,
    rotate: async (secret) => t.ended(await ask(secret)),
    async values(secret) {
      const values = await createValues({ store: t.store, master: installation.master, log: () => {} });
      const known = values.known().flatMap((each) => (each.name === secret ? [each.value] : []));
      const present = values.get(secret).value;
      values.close();
      return { present, known };
    },
    async actions(secret) {
      const { rows } = await t.store.query<{ action: string }>('select action from audit_log where resource = $1 order by audit_id', [
        `secret:${secret}`,
      ]);
      return rows.map(({ action }) => action);
    },
    async dump() {
      const { rows: tables } = await t.store.query<{ name: string }>(
        `select c.oid::regclass::text as name from pg_class c where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace`,
      );
      const texts = await Promise.all(
        tables.map(async (table) => (await t.store.query<{ line: string }>(`select t::text as line from ${table.name} t`)).rows),
      );
      return texts.flatMap((rows) => rows.map(({ line }) => line)).join('\n');
    },
    async [Symbol.asyncDispose]() {
      await t.engine.drain(1000);
      await installation.close();
      await t[Symbol.asyncDispose]();
    },
  };
}
