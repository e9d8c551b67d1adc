/** Threads with an installation, and something of somebody in every room, for tests of data care. */
import { randomBytes } from 'node:crypto';
import { sealPrivate } from '../../kernel/audit/index.ts';
import type { Store } from '../../kernel/store/index.ts';
import { type Installation, localMasterKey, openInstallation } from '../../kernel/vault/index.ts';
import { createTestThreads, type TestThreads } from './threads.ts';
import { eventually } from './wait.ts';

export const CANARY = 'canary-5f1c';

export interface CarePlace extends AsyncDisposable {
  readonly t: TestThreads;
  readonly store: Store;
  readonly installation: Installation;
}

export async function openCarePlace(): Promise<CarePlace> {
  const t = await createTestThreads();
  const installation = await openInstallation({ store: t.store, master: localMasterKey(randomBytes(32)) });
  t.onTurn(async (owner, threads) => {
    const turn = await threads.turns.begin(owner);
    const heard = JSON.stringify(turn);
    await threads.turns.append(owner, [{ kind: 'text', data: { type: 'text', text: `you said ${heard.slice(0, 4000)}` } }]);
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: `answer to ${heard.slice(0, 4000)}` });
  });
  return {
    t,
    store: t.store,
    installation,
    async [Symbol.asyncDispose]() {
      await installation.close();
      await t[Symbol.asyncDispose]();
    },
  };
}

/** Every table of ours that has the text somewhere, bytes and all. */
export async function tablesWith(store: Store, text: string): Promise<string[]> {
  const { rows } = await store.query<{ name: string }>(
    `select c.oid::regclass::text as name from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' order by 1`,
  );
  const found: string[] = [];
  for (const { name } of rows) {
    const { rows: hits } = await store.query(
      `select 1 from ${name} t where position($1 in t::text) > 0 or position(encode($1::text::bytea, 'hex') in t::text) > 0 limit 1`,
      [text],
    );
    if (hits.length > 0) found.push(name);
  }
  return found;
}

export async function say(place: CarePlace, thread: string, user: string, text: string): Promise<void> {
  const id = await place.t.say(thread, text, { user_id: user });
  await place.t.ended(id);
  // the turn has told its end; the run that it is ends a moment later
  await eventually(async () => {
    const { rows } = await place.store.query(
      'select 1 from workflow_runs r join agent_execution_requests e using (run_id) where e.execution_id = $1',
      [id],
    );
    return rows.length === 0;
  });
}

export async function seed(place: CarePlace, thread: string, user: string, canary: string): Promise<void> {
  const { store, installation, t } = place;
  await say(place, thread, user, `remember ${canary}`);
  await t.threads.attach(thread, { name: `${canary}.txt`, mimeType: 'text/plain', data: Buffer.from(`file of ${canary}`) });
  await store.query(
    `insert into session_snapshots (thread_key, harness, agent_thread_id, execution_id, data, sha256)
     values ($1, 'demo', 'a', gen_random_uuid(), $2, '') on conflict do nothing`,
    [thread, Buffer.from(`session with ${canary}`)],
  );
  await store.query(
    `insert into tool_calls (principal, call_key, call_id, tool, method, digest, state, maker, result)
     values ($1, $2, gen_random_uuid(), 'search', 'find', '', 'c', 1, $3)`,
    [`thread:${thread} user:${user}`, `k-${canary}`, JSON.stringify({ found: canary })],
  );
  const { rows: runs } = await store.query<{ run_id: string }>(
    'select run_id from agent_execution_requests where thread_key = $1 limit 1',
    [thread],
  );
  const told = { event_type: 'told', correlation_id: runs[0]?.run_id ?? '', payload: canary, event_key: `${thread} ${canary}` };
  await t.engine.engine.emitEvent(told);
  await installation.audit.write({
    action: 'test.said',
    actor: `user:${user}`,
    threadKey: thread,
    private: await store.transaction((tx) => sealPrivate(tx, installation.master, `user:${user}`, { said: canary })),
  });
}
