/**
 * `npm run bench:webhooks [-- --quick] [--write]`: signed deliveries per second over HTTP, each answered when its run and its row are
 * durable, beside starts of runs over the same API; and the way of a delivery to the first step of its run, in a warm process.
 */
import { fork } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startEmbeddedPostgres } from '@centaur/kernel/store/embedded';
import { Pool } from 'undici';
import { median, quantile } from '../measure.ts';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const REPORT = path.join(HERE, '..', '..', 'docs', 'benchmarks-webhooks.md');
const { values: flags } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, write: { type: 'boolean', default: false } },
});
const sizes = flags.quick ? { repeat: 1, seconds: 1, samples: 3 } : { repeat: 3, seconds: 6, samples: 30 };
const CONNECTIONS = 128;
const secret = randomBytes(24).toString('hex');
const key = `ck_${randomBytes(24).toString('base64url')}`;
const FILLER = 'x'.repeat(700);

await using cleanup = new AsyncDisposableStack();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void cleanup.disposeAsync().finally(() => process.exit(130)));
const folder = mkdtempSync(path.join(os.tmpdir(), 'cw-'));
cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
const postgres = await startEmbeddedPostgres({ dataDir: path.join(folder, 'postgres') });
cleanup.defer(() => postgres.stop());
const server = fork(path.join(HERE, 'server.ts'), [postgres.url, folder, secret, key], { stdio: 'inherit' });
cleanup.defer(async () => {
  if (server.connected) server.disconnect();
  await once(server, 'exit');
});
const [{ address }] = (await once(server, 'message')) as [{ address: string }];
const client = new Pool(address, { connections: CONNECTIONS });
cleanup.defer(() => client.close());

let sent = 0;
const figures = new Map<string, number[]>();
const note = (name: string, value: number): void => {
  figures.set(name, [...(figures.get(name) ?? []), value]);
  console.log(`${name}: ${value.toLocaleString('en', { maximumFractionDigits: 1 })}`);
};

// what is compiled and planned at the first requests is not what is measured
for (const request of [() => deliver('bench'), start]) await flood(request);
for (let i = 0; i < sizes.repeat; i++) {
  const { perSecond, delays } = await flood(() => deliver('bench'));
  note('deliveries/s', perSecond);
  note('delivery p50, ms', quantile(delays, 0.5));
  note('delivery p99, ms', quantile(delays, 0.99));
  note('starts/s', (await flood(start)).perSecond);
  for (let n = 0; n < 3; n++) await toFirstStep();
  const ways: number[] = [];
  for (let n = 0; n < sizes.samples; n++) ways.push(await toFirstStep());
  note('delivery to first step p50, ms', quantile(ways, 0.5));
}

const of = (name: string): number => median(figures.get(name) ?? []);
const text = `# Benchmark: webhooks

\`npm run bench:webhooks${flags.quick ? ' -- --quick' : ''}\`, ${os.cpus().length} cores for everything (Postgres, API, worker, load), Node ${process.version}, medians of ${sizes.repeat}.

| What | Figure |
|---|---|
| signed deliveries/s, ${CONNECTIONS} connections, 0.8 KB each, run and row durable before the 202 | ${Math.round(of('deliveries/s')).toLocaleString('en')} |
| the same beside starts of runs over the same API (${Math.round(of('starts/s')).toLocaleString('en')}/s) | ${(of('deliveries/s') / of('starts/s')).toFixed(2)}x |
| a delivery among them, p50 and p99 | ${of('delivery p50, ms').toFixed(0)} and ${of('delivery p99, ms').toFixed(0)} ms |
| from sending one to the first step of its run, warm process, p50 | ${of('delivery to first step p50, ms').toFixed(1)} ms |
`;
console.log(text);
if (flags.write) writeFileSync(REPORT, text);

async function flood(request: () => Promise<unknown>): Promise<{ readonly perSecond: number; readonly delays: readonly number[] }> {
  const delays: number[] = [];
  const until = performance.now() + sizes.seconds * 1000;
  const began = performance.now();
  const lane = async (): Promise<void> => {
    while (performance.now() < until) {
      const at = performance.now();
      await request();
      delays.push(performance.now() - at);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  return { perSecond: delays.length / ((performance.now() - began) / 1000), delays };
}

async function deliver(slug: string): Promise<string> {
  const id = `d${++sent}`;
  const body = JSON.stringify({ action: 'opened', id, issue: { number: sent, title: FILLER } });
  const signature = createHmac('sha256', secret).update(body).digest('hex');
  const answer = await client.request({
    method: 'POST',
    path: `/api/webhooks/${slug}`,
    headers: {
      'content-type': 'application/json',
      'x-github-event': 'issues',
      'x-github-delivery': id,
      'x-hub-signature-256': `sha256=${signature}`,
    },
    body,
  });
  const said = (await answer.body.json()) as { run_id: string };
  if (answer.statusCode !== 202) throw new Error(`${answer.statusCode}: ${JSON.stringify(said)}`);
  return said.run_id;
}

async function start(): Promise<void> {
  const answer = await client.request({
    method: 'POST',
    path: '/api/workflows/runs',
    headers: { 'content-type': 'application/json', 'x-api-key': key },
    body: JSON.stringify({ workflow_name: 'bench', input: { id: ++sent, title: FILLER }, trigger_key: `s${sent}` }),
  });
  await answer.body.dump();
  if (answer.statusCode !== 201) throw new Error(`${answer.statusCode}`);
}

async function toFirstStep(): Promise<number> {
  const began = Date.now();
  const runId = await deliver('warm');
  for (;;) {
    const answer = await client.request({ method: 'GET', path: `/api/workflows/runs/${runId}`, headers: { 'x-api-key': key } });
    const run = (await answer.body.json()) as { result: number | null; status: string };
    if (run.status === 'completed') return Number(run.result) - began;
    if (run.status === 'failed') throw new Error('a run failed');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
