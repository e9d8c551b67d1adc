/**
 * `npm run test:faults:slack`: people ask in the threads of a Slack, while bots, workers and the API are killed with SIGKILL: at any
 * moment, and between what Slack does and the note of it. At the end:
 *
 *  1. every question has one turn, and nothing is owed for it any more;
 *  2. its answer is in its thread once, with each part of it once, the last of them final;
 *  3. no message of a stream is left open, and no message of a turn that nobody asked for is there;
 *  4. Slack was never called faster than it allows: who dies forgets how often it called, and no more is called again for that than
 *     there is room for.
 *
 *   npm run test:faults:slack -- --kills 200 --seed 7
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../kernel/store/embedded/index.ts';
import { migrate } from '../../kernel/store/index.ts';
import { freePort } from '../support/ports.ts';
import { seeded } from './random.ts';
import type { SeenPart, Where } from './slack/emulator.ts';
import { markOf, questionOf } from './slack/questions.ts';

const { values } = parseArgs({ options: { kills: { type: 'string', default: '200' }, seed: { type: 'string' } } });
const KILLS = Number(values.kills);
const SEED = Number(values.seed ?? Math.floor(Math.random() * 1e6));
const CHANNELS = ['one', 'two', 'three', 'four', 'five'];
const THREADS = 20;
/** Questions that wait for their answers: each of them is drawn once more after the death of its bot. */
const OPEN_MOST = 6;
const ADMIN = 'the-admin-key-of-the-fault-test';
const POSTS = ['chat.startStream', 'chat.postMessage'];
const CALLS = [...POSTS, ...POSTS, 'chat.appendStream', 'chat.stopStream', 'chat.update'];
const random = seeded(SEED);
const between = (low: number, high: number) => low + random() * (high - low);
const oneOf = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

console.log(`seed ${SEED}; repeat with: npm run test:faults:slack -- --kills ${KILLS} --seed ${SEED}`);
const folder = mkdtempSync(join(tmpdir(), 'centaur-faults-'));
const server = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), throwaway: true });
await migrate(server.url);
const admin = new pg.Pool({ connectionString: server.url, max: 3 });
admin.on('error', () => {});

type Role = 'api' | 'worker' | 'bot';
const FILES = { api: 'platform', worker: 'platform', bot: 'bot' } as const;
const children = new Set<ChildProcess>();
const ports = { api: await freePort(), front: await freePort(), back: await freePort() };
const counts = { kills: 0, api: 0, worker: 0, bot: 0, 'in mid-call': 0, 'answers lost': 0 };
let isOver = false;

function run(file: string, env: Readonly<Record<string, string>>): ChildProcess {
  const child = fork(new URL(`./slack/${file}.ts`, import.meta.url), {
    env: {
      ...process.env,
      NODE_NO_WARNINGS: '1',
      NODE_COMPILE_CACHE: join(folder, 'compiled'),
      DATABASE_URL: server.url,
      CENTAUR_API_KEY: ADMIN,
      ...env,
    },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  children.add(child);
  child.on('exit', () => children.delete(child));
  return child;
}

// ---- Slack

const emulator = run('emulator', {});
const waiting = new Map<number, PromiseWithResolvers<unknown>>();
let asked = 0;
/** Called when a call has met a planned fault. */
let onMet = (_method: string): void => {};
const slackIs = await new Promise<{ apiUrl: string; botToken: string; signingSecret: string }>((resolve, reject) => {
  emulator.once('exit', () => reject(new Error('the Slack of the test has ended')));
  emulator.on('message', (message: { up?: never; id?: number; answer?: unknown; error?: string; met?: string }) => {
    if (message.up !== undefined) resolve(message.up);
    if (message.met !== undefined) onMet(message.met);
    if (message.id === undefined) return;
    if (message.error === undefined) waiting.get(message.id)?.resolve(message.answer);
    else waiting.get(message.id)?.reject(new Error(message.error));
    waiting.delete(message.id);
  });
});

function slack<T>(what: string, ...args: readonly unknown[]): Promise<T> {
  const id = (asked += 1);
  const answer = Promise.withResolvers<unknown>();
  waiting.set(id, answer);
  emulator.send({ id, what, args });
  return answer.promise as Promise<T>;
}

// ---- the processes that die

interface Slot {
  readonly role: Role;
  readonly env: Readonly<Record<string, string>>;
  child?: ChildProcess | undefined;
}

const botEnv = {
  SLACK_API_URL: slackIs.apiUrl,
  SLACK_BOT_TOKEN: slackIs.botToken,
  SLACK_SIGNING_SECRET: slackIs.signingSecret,
  CENTAUR_API_URL: `http://127.0.0.1:${ports.api}`,
  SLACKBOT_API_KEY: ADMIN,
};
const slots: readonly Slot[] = [
  { role: 'api', env: { FAULT_ROLE: 'api', FAULT_PORT: String(ports.api) } },
  { role: 'worker', env: { FAULT_ROLE: 'worker' } },
  { role: 'worker', env: { FAULT_ROLE: 'worker' } },
  { role: 'bot', env: { ...botEnv, SLACK_PORT: String(ports.front) } },
  { role: 'bot', env: { ...botEnv, SLACK_PORT: String(ports.back) } },
];

async function live(slot: Slot): Promise<void> {
  const child = run(FILES[slot.role], slot.env);
  slot.child = child;
  const up = new Promise<void>((resolve) => child.once('message', () => resolve()));
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await Promise.race([up, gone]);
  if (child.signalCode === null && child.exitCode !== null) throw new Error(`a ${slot.role} ended by itself with ${child.exitCode}`);
}

/** @returns when the next one lives */
async function kill(slot: Slot): Promise<void> {
  const { child } = slot;
  if (child === undefined || isOver) return;
  slot.child = undefined;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const isGone = child.exitCode !== null || child.signalCode !== null;
  child.kill('SIGKILL');
  if (!isGone) await gone;
  counts.kills += 1;
  counts[slot.role] += 1;
  if (slot.role === 'bot') dead.push(`slack:%:${child.pid}:%`);
  await hasten();
  await pause(between(0, 300));
  await live(slot);
}

/** Names of bots that were killed. */
const dead: string[] = [];

/**
 * What the dead had is free, also what the API did for them after their death; and what is tried again is tried soon: each death counts
 * as a try, and after many of them the next one is ten minutes away.
 */
async function hasten(): Promise<void> {
  for (const table of ['agent_final_delivery_outbox', 'agent_inbox']) {
    await admin.query(`update ${table} set lease_expires_at = now() where lease_owner like any($1) and lease_expires_at > now()`, [dead]);
    await admin.query(
      `update ${table} set next_attempt_at = now() + interval '5 s' where next_attempt_at > now() + interval '5 s'
         and state in ('live', 'sending', 'claimed', 'retry_wait')`,
    );
  }
}

const enough = (): boolean => counts.kills >= KILLS;
const bots = slots.filter(({ role }) => role === 'bot');

async function killing(): Promise<void> {
  while (!enough()) {
    await pause(between(100, 1_200));
    const throwOf = random();
    const role: Role = throwOf < 0.45 ? 'bot' : throwOf < 0.8 ? 'worker' : 'api';
    const [slot] = slots.filter((each) => each.role === role && each.child !== undefined).toSorted(() => random() - 0.5);
    if (slot !== undefined) await kill(slot);
  }
}

/** Slack has done what it was asked, and whoever asked dies before it hears of it; or lives on and never hears of it. */
async function doubting(): Promise<void> {
  while (!enough()) {
    await pause(between(500, 1_500));
    const method = oneOf(CALLS);
    if (random() < 0.4) {
      counts['answers lost'] += 1;
      await slack('plan', method, { kind: 'answer lost' });
      continue;
    }
    const met = new Promise<void>((resolve) => (onMet = () => resolve()));
    await slack('plan', method, { kind: 'slow', ms: 400 });
    const how = await Promise.race([met.then(() => 'met'), pause(5_000).then(() => 'not met')]);
    onMet = () => {};
    if (how !== 'met' || enough()) continue;
    counts['in mid-call'] += 1;
    // whose call it was nobody knows
    await Promise.all(bots.map(kill));
  }
}

// ---- people

const threads: (Where & { isBusy: boolean })[] = [];
const questions: { readonly name: string; readonly where: Where }[] = [];

async function open(): Promise<number> {
  const { rows } = await admin.query<{ n: number }>(
    `select count(*)::int as n from agent_final_delivery_outbox where state not in ('delivered', 'dead_letter')`,
  );
  return rows[0]?.n ?? 0;
}

async function asking(): Promise<void> {
  while (!enough()) {
    await pause(between(100, 900));
    const accepted = await admin.query<{ n: number }>('select count(*)::int as n from agent_execution_requests');
    const unheard = questions.length - (accepted.rows[0]?.n ?? 0);
    if (unheard + (await open()) >= OPEN_MOST) continue;
    const name = `q${questions.length}`;
    const thread = threads.length < THREADS ? undefined : oneOf(threads);
    const where = await slack<Where>(
      'mention',
      thread?.channel ?? CHANNELS[threads.length % CHANNELS.length],
      questionOf(name, random()),
      thread?.threadTs ?? null,
    );
    questions.push({ name, where });
    if (thread === undefined) threads.push({ ...where, isBusy: false });
  }
}

async function untilDone(): Promise<void> {
  for (const deadline = Date.now() + 480_000; ;) {
    const { rows } = await admin.query<{ n: number }>(
      'select count(*)::int as n from agent_execution_requests where completed_at is not null',
    );
    if ((rows[0]?.n ?? 0) >= questions.length && (await open()) === 0) return;
    await hasten();
    if (Date.now() > deadline) {
      const left = await admin.query(
        `select o.execution_id, o.state, o.lease_owner, o.lease_expires_at, o.next_attempt_at, o.attempt_count, o.last_error, o.progress::text, e.status
         from agent_final_delivery_outbox o join agent_execution_requests e using (thread_key, execution_id) where o.state <> 'delivered' limit 10`,
      );
      console.error(left.rows, (await admin.query('select state, count(*) from agent_inbox group by 1')).rows, await slack('unheard'));
      throw new Error(`of ${questions.length} questions ${rows[0]?.n} were answered, and ${await open()} answers are owed`);
    }
    await pause(100);
  }
}

// ---- at the end

async function verify(): Promise<string[]> {
  const problems: string[] = [];
  const { rows: turns } = await admin.query<{
    execution_id: string;
    thread_key: string;
    result: string;
    state: string;
    error: string | null;
  }>(
    `select e.execution_id, e.thread_key, e.result_text as result, o.state, o.last_error as error from agent_execution_requests e
     left join agent_final_delivery_outbox o using (thread_key, execution_id)`,
  );
  if (turns.length !== questions.length) problems.push(`${questions.length} questions, and ${turns.length} turns`);
  const seen = new Map<string, SeenPart[]>();
  for (const { channel, threadTs } of threads)
    seen.set(`slack:${channel}:${threadTs}`, await slack<SeenPart[]>('thread', channel, threadTs));
  for (const { name, where } of questions) {
    const key = `slack:${where.channel}:${where.threadTs}`;
    const own = turns.filter(({ result }) => (result ?? '').includes(markOf(name)));
    const [turn] = own;
    const say = async (problem: string) =>
      problems.push(`${name}: ${problem}\n${await slack<string>('transcript', where.channel, where.threadTs)}`);
    if (own.length !== 1 || turn === undefined) {
      await say(`${own.length} turns`);
      continue;
    }
    const all = seen.get(key) ?? [];
    const parts = all.filter(({ executionId }) => executionId === turn.execution_id);
    const times = all.reduce((sum, { text }) => sum + text.split(markOf(name)).length - 1, 0);
    if (turn.thread_key !== key) await say('answered in another thread');
    if (turn.state !== 'delivered') await say(`its answer is ${turn.state}: ${turn.error}`);
    if (times !== 1) await say(`its answer is there ${times} times`);
    if (parts.some(({ segment }, index) => segment !== index)) await say(`its parts are ${parts.map(({ segment }) => segment).join(', ')}`);
    if (parts.at(-1)?.isFinal !== true) await say('its last part is not final');
  }
  for (const [key, parts] of seen) {
    for (const { isOpen, executionId, text } of parts) {
      if (isOpen) problems.push(`${key}: a stream was left open: ${text.slice(0, 200)}`);
      if (executionId === null) problems.push(`${key}: a message of no turn: ${text.slice(0, 200)}`);
    }
  }
  const violations = await slack<readonly { method: string; kind: string }[]>('violations');
  problems.push(...violations.map(({ method, kind }) => `${method} was called ${kind}`));
  return problems;
}

const begun = Date.now();
const seconds = () => ((Date.now() - begun) / 1000).toFixed(0);
let failed = false;
try {
  await slack('point', `http://127.0.0.1:${ports.front}/api/webhooks/slack`);
  const [api, ...others] = slots;
  await live(api as Slot);
  await Promise.all(others.map(live));
  await Promise.all([killing(), killing(), doubting(), asking()]);
  console.log(`the last was killed after ${seconds()} s`);
  await untilDone();
  console.log(`all was answered after ${seconds()} s`);
  const problems = await verify();
  console.log(`${questions.length} questions in ${threads.length} threads; ${JSON.stringify(counts)}`);
  console.log(JSON.stringify(Object.fromEntries(await slack<[string, number][]>('calls'))));
  console.log(
    `the most within a minute of Slack's clock: ${JSON.stringify(Object.fromEntries(await slack<[string, number][]>('busiest')))}`,
  );
  for (const problem of problems.slice(0, 10)) console.error(`VIOLATION: ${problem}`);
  failed = problems.length > 0;
  console.log(failed ? `${problems.length} violations` : `no invariant was broken, in ${seconds()} s`);
} catch (error) {
  failed = true;
  console.error(error);
} finally {
  isOver = true;
  for (const child of children) child.kill('SIGKILL');
  await admin.end();
  await server.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
}
process.exit(failed ? 1 : 0);
