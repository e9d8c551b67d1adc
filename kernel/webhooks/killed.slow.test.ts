/** What was answered is there, whenever the process is killed; what was not is found by the delivery that comes again. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createTestDatabase } from '../../test/support/database.ts';
import { SECRET } from '../../test/support/webhooks.ts';
import { connectStore } from '../store/index.ts';

const SERVER = fileURLToPath(new URL('../../test/support/webhook-server.ts', import.meta.url));
const SENDERS = 32;
const LIVES = 5;
const ANSWERS_PER_LIFE = 100;

async function startServer(databaseUrl: string) {
  const child = spawn(process.execPath, [SERVER], {
    env: { ...process.env, DATABASE_URL: databaseUrl },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [url] = (await once(createInterface(child.stdout), 'line')) as [string];
  return { child, url };
}

async function send(url: string, id: string): Promise<{ readonly status: number; readonly run_id: string } | undefined> {
  const body = JSON.stringify({ id });
  const signature = `sha256=${createHmac('sha256', SECRET).update(body).digest('hex')}`;
  const headers = { 'content-type': 'application/json', 'x-hub-signature-256': signature, 'x-github-delivery': id };
  try {
    const response = await fetch(`${url}/webhooks/hook`, { method: 'POST', headers, body });
    const { run_id } = (await response.json()) as { run_id: string };
    return { status: response.status, run_id };
  } catch {
    // it was killed before it answered
    return undefined;
  }
}

test('every answered delivery survives kill -9 with its run, and none becomes two', async () => {
  await using database = await createTestDatabase();
  const answered = new Map<string, string>();
  const sent = new Set<string>();
  for (let life = 0; life < LIVES; life++) {
    const { child, url } = await startServer(database.url);
    let left = ANSWERS_PER_LIFE;
    const sender = async (n: number) => {
      for (let i = 0; child.exitCode === null && child.signalCode === null; i++) {
        const id = `${life}-${n}-${i}`;
        sent.add(id);
        const answer = await send(url, id);
        if (answer === undefined) return;
        assert.equal(answer.status, 202);
        answered.set(id, answer.run_id);
        if (--left === 0) child.kill('SIGKILL');
      }
    };
    await Promise.all(Array.from({ length: SENDERS }, (_, n) => sender(n)));
  }
  assert.ok(answered.size >= LIVES * ANSWERS_PER_LIFE);
  assert.ok(sent.size > answered.size, 'some were under way');

  const store = await connectStore({ url: database.url });
  const stored = await store.query<{ runs: number }>(
    `select count(*) as runs from unnest($1::uuid[]) u(run_id)
     where exists (select from workflow_runs r where r.run_id = u.run_id)
       and exists (select from webhook_deliveries d where d.run_id = u.run_id and d.created)`,
    [[...answered.values()]],
  );
  assert.equal(stored.rows[0]?.runs, answered.size);

  const { child, url } = await startServer(database.url);
  for (const id of sent) {
    const again = await send(url, id);
    if (answered.has(id)) assert.deepEqual(again, { status: 200, run_id: answered.get(id) });
    else assert.ok(again?.status === 200 || again?.status === 202);
  }
  child.kill();
  const { rows } = await store.query<{ runs: number }>('select count(*) as runs from workflow_runs');
  assert.equal(rows[0]?.runs, sent.size);
  await store.close();
});
