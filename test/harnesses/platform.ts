/**
 * The real CLIs as the platform runs them: in sandboxes, with placeholders, through the firewall. A tool turn, an interrupt
 * in a tool, a thread that goes on in a fresh sandbox, the platform's own tools, and tools that a person approves or denies.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { castVote, listApprovals } from '../../kernel/policy/index.ts';
import { startEmbeddedPostgres } from '../../kernel/store/embedded/index.ts';
import { skillsAt, skillText, write } from '../support/skills.ts';
import { createTestAgents, type TestAgents } from '../support/agents.ts';
import { prepareToolsApi, type ToolsApi } from '../support/tools-api.ts';
import { person } from '../support/people.ts';
import { eventually } from '../support/wait.ts';
import { installFolder, type Real } from './install.ts';

interface PlatformResult {
  readonly kind: Real;
  readonly scenario: string;
  readonly ms: number;
  readonly failure?: string;
}

type Events = Awaited<ReturnType<TestAgents['events']>>;

const outputs = (events: Events): string =>
  JSON.stringify(events.filter(({ kind }) => kind === 'tool_result').map(({ data }) => data['content']));

type Scenarios = Readonly<Record<string, (t: TestAgents, kind: Real) => Promise<void>>>;

const SCENARIOS: Scenarios = {
  async 'a tool turn with placeholders alone'(t, kind) {
    const execution = await t.ended(await t.say(kind, 'run: env; echo the word is marzipan', { harness: kind }));
    assert.equal(execution.status, 'completed', `${execution.terminal_reason}: ${execution.error_text}`);
    const events = await t.events(kind);
    assert.match(outputs(events), /MODEL_KEY=/);
    assert.ok(!JSON.stringify(events).includes(t.key), 'the key is in an event');
    assert.ok(t.model.requests.some(({ status }) => status === 200));
  },
  async 'an interrupt in a tool, and a turn after it'(t, kind) {
    const id = await t.say(kind, 'run: tail -f /dev/null');
    await eventually(async () => (await t.events(kind)).some((event) => event.kind === 'tool_use' && event.data['execution_id'] === id), {
      timeoutMs: 120_000,
    });
    await t.threads.cancel(id);
    const cancelled = await t.ended(id);
    assert.deepEqual([cancelled.status, cancelled.terminal_reason], ['cancelled', 'cancelled'], cancelled.error_text ?? '');
    const next = await t.ended(await t.say(kind, 'say: still here'));
    assert.equal(next.status, 'completed', next.error_text ?? '');
    assert.match(next.result_text ?? '', /still here/);
  },
  async 'a thread that goes on in a fresh sandbox'(t, kind) {
    const view = (await t.worker.sandboxes.list()).find(({ labels }) => labels['thread_key'] === kind);
    await t.worker.sandboxes.stop(view?.id as string);
    const execution = await t.ended(await t.say(kind, 'recall'));
    assert.equal(execution.status, 'completed', execution.error_text ?? '');
    assert.match(execution.result_text ?? '', /marzipan/);
  },
  async 'a key that the model says back is blanked, and the thread goes on'(t, kind) {
    const execution = await t.ended(await t.say(`${kind}-echo`, 'echo-key', { harness: kind }));
    assert.equal(execution.status, 'completed', `${execution.terminal_reason}: ${execution.error_text}`);
    assert.match(execution.result_text ?? '', /The key was .{0,3}\*{8}/);
    assert.ok(!JSON.stringify(await t.events(`${kind}-echo`)).includes(t.key.slice(8)), 'the key is in an event');
    assert.equal((await t.ended(await t.say(`${kind}-echo`, 'say: still here'))).status, 'completed');
  },
};

const TOOL = { name: 'housekeeping', description: 'Issues of a house', version: '1' };
const DECLARED = {
  name: TOOL.name,
  description: TOOL.description,
  methods: {
    read: {
      description: 'Reads an issue.',
      risk: 'read',
      input: { type: 'object', properties: { number: { type: 'integer' } }, required: ['number'] },
    },
  },
};

/** Where the tools of the platform are, which the sandbox asks directly. */
const WITH_TOOLS: Scenarios = {
  async 'a tool of the platform, and as a command'(t, kind) {
    const script =
      'tool: mcp__centaur__housekeeping_read {"number":7}\nrun: housekeeping read --number 8; env | grep -c ^CENTAUR_API_KEY=\nsay: done';
    const execution = await t.ended(await t.say(kind, script, { harness: kind }));
    assert.equal(execution.status, 'completed', `${execution.terminal_reason}: ${execution.error_text}`);
    const events = await t.events(kind);
    assert.match(outputs(events), /issue 7 of this house/);
    assert.match(outputs(events), /issue 8 of this house/);
    assert.ok(events.some((event) => event.kind === 'tool_use' && event.data['name'] === 'mcp:centaur/housekeeping_read'));
    const { rows } = await t.trust.store.query<{ text: string }>(`select string_agg(entry, ' ') as text from audit_log`);
    assert.ok(!(rows[0]?.text ?? '').includes('relay.internal'), 'the firewall was asked for the platform');
  },
};

const SKILL = { name: 'marmalade', description: 'Cooks marmalade of bitter oranges. Use it for anything with oranges.' };

/** Skills in the open format, and a persona. */
const WITH_SKILLS: Scenarios = {
  async 'a skill that the model is told of once, and its files'(t, kind) {
    const script = 'run: cat .agents/skills/marmalade/SKILL.md; .agents/skills/marmalade/scripts/cook.sh';
    const execution = await t.ended(await t.say(kind, script, { harness: kind, persona_id: 'cook' }));
    assert.equal(execution.status, 'completed', `${execution.terminal_reason}: ${execution.error_text}`);
    assert.match(outputs(await t.events(kind)), /Boil it[^]*it is cooked/);
    // what the script says comes back later: only the first request counts
    const first = t.told.find((body) => body.includes('scripts/cook.sh')) ?? '';
    assert.equal(first.split(SKILL.description).length - 1, 1, 'the model is told of the skill');
    assert.ok(first.includes('You are a cook.'), 'the model is told of the persona');
    assert.ok(!first.includes('Washes dishes'), 'a skill that the persona does not name');
  },
};

/** Of those that can ask before they run a tool. */
const ASKING: Scenarios = {
  async 'a tool that a person approves'(t, kind) {
    const id = await t.say(kind, 'run: touch made-it; ls', { harness: kind });
    await decide(t, 'approve');
    const execution = await t.ended(id);
    assert.equal(execution.status, 'completed', `${execution.terminal_reason}: ${execution.error_text}`);
    assert.match(outputs(await t.events(kind)), /made-it/);
  },
  async 'a tool that a person denies'(t, kind) {
    const id = await t.say(kind, 'run: touch never-made; ls');
    await decide(t, 'deny');
    await t.ended(id);
    const look = await t.say(kind, 'run: rm -f none; ls');
    await decide(t, 'approve');
    await t.ended(look);
    const [, after] = JSON.stringify(await t.events(kind)).split(look);
    assert.ok(!(after ?? '').includes('never-made'), 'it was made');
  },
};

async function decide(t: TestAgents, verdict: 'approve' | 'deny'): Promise<void> {
  const approval = await eventually(async () => (await listApprovals(t.trust.store, { state: 'pending' })).items[0], {
    timeoutMs: 120_000,
    what: 'the question of the harness',
  });
  await castVote(t.trust.installation, person('ann'), approval.approval_id, { verdict, reason: 'the test says so', channel: 'api' });
}

/** One after the other: they share a machine. */
export async function runOnPlatform(kinds: readonly Real[]): Promise<PlatformResult[]> {
  await using cleanup = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'centaur-platform-'));
  cleanup.defer(() => rmSync(folder, { recursive: true, force: true, maxRetries: 10 }));
  const postgres = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), throwaway: true });
  cleanup.defer(() => postgres.stop());
  process.env['TEST_DATABASE_URL'] = postgres.url;
  const skills = join(folder, 'skills');
  write(skills, {
    '.agents/skills/marmalade/SKILL.md': skillText({ ...SKILL, body: 'Boil it.\n' }),
    '.agents/skills/marmalade/scripts/cook.sh': '#!/bin/sh\necho it is cooked\n',
    '.agents/skills/dishes/SKILL.md': skillText({ name: 'dishes', description: 'Washes dishes.' }),
    'personas/cook.md': '---\nskills: [marmalade]\n---\nYou are a cook.\n',
  });
  const source = skillsAt({ layers: [skills] });
  const asking = kinds.filter((kind) => kind !== 'pi');
  return [
    ...(await runAll(kinds, SCENARIOS, { harnessDir: installFolder() })),
    ...(await runAll(kinds, WITH_TOOLS, { harnessDir: installFolder(), tools: [TOOL] }, await prepareToolsApi())),
    ...(await runAll(kinds, WITH_SKILLS, { harnessDir: installFolder(), skills: source })),
    ...(await runAll(asking, ASKING, { harnessDir: installFolder(), approvals: 'ask' })),
  ];
}

async function runAll(
  kinds: readonly Real[],
  scenarios: Scenarios,
  options: Parameters<typeof createTestAgents>[0],
  api?: ToolsApi,
): Promise<PlatformResult[]> {
  await using stack = new AsyncDisposableStack();
  const t = stack.use(await createTestAgents({ ...options, ...(api === undefined ? {} : { api: api.address }) }));
  if (api !== undefined) {
    stack.use(api);
    api.runner.serve(DECLARED);
    api.runner.act = async ({ args }) => `issue ${String(args['number'])} of this house`;
    await api.open(t);
  }
  const results: PlatformResult[] = [];
  for (const kind of kinds) {
    for (const [scenario, run] of Object.entries(scenarios)) {
      const began = performance.now();
      const failure = await run(t, kind).then(
        () => undefined,
        (error: Error) => error.message,
      );
      const ms = Math.round(performance.now() - began);
      results.push({ kind, scenario, ms, ...(failure === undefined ? {} : { failure }) });
      console.log(`${kind}, on the platform: ${scenario}: ${failure === undefined ? `ok ${ms} ms` : `FAILED\n${failure}`}`);
      if (failure !== undefined) {
        console.log(JSON.stringify((await t.events(kind)).slice(-12)).slice(0, 4000));
        console.log(JSON.stringify(t.logs.slice(-5)));
      }
    }
  }
  return results;
}
