/** An engine with an installation whose journals are sealed when a test says so, for tests. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { createTestEngine, type TestEngine } from './engine.ts';
import { eventually } from './wait.ts';
import { type Installation, localMasterKey, openInstallation } from '../../kernel/vault/index.ts';
import { createJournalSealer, type JournalSealer } from '../../kernel/journal/index.ts';

export interface SealedEngine extends AsyncDisposable {
  readonly test: TestEngine;
  readonly installation: Installation;
  readonly masterKey: Buffer;
  readonly sealer: JournalSealer;
  /** Seals until this many runs in all have been sealed: other tests on the server hold transactions open. */
  sealed(runs: number): Promise<void>;
  /** As somebody does who owns the database: with the triggers off. */
  tamper(sql: string, params?: readonly unknown[]): Promise<void>;
}

export async function sealedEngine(options: Parameters<typeof createTestEngine>[0] = {}): Promise<SealedEngine> {
  const test = await createTestEngine(options);
  const masterKey = randomBytes(32);
  const installation = await openInstallation({ store: test.store, master: localMasterKey(masterKey), seal: { delayMs: 10 } });
  const sealer = createJournalSealer({ store: test.store, audit: installation.audit, everyMs: 3_600_000, settleMs: 0 });
  return {
    test,
    installation,
    masterKey,
    sealer,
    async sealed(runs) {
      await eventually(async () => {
        await sealer.seal();
        const { rows } = await test.store.query<{ n: number }>('select count(*) as n from journal_seals');
        return (rows[0]?.n ?? 0) >= runs;
      });
    },
    async tamper(sql, params = []) {
      const client = new pg.Client(test.database.url);
      await client.connect();
      try {
        await client.query("set session_replication_role = 'replica'");
        await client.query(sql, [...params]);
      } finally {
        await client.end();
      }
    },
    async [Symbol.asyncDispose]() {
      await sealer.close();
      await installation.close();
      await test[Symbol.asyncDispose]();
    },
  };
}
