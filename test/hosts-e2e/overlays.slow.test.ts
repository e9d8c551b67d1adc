/**
 * One server, which is never restarted, and an overlay in a Git repository: a commit and `overlays update` add one of each kind of thing, a folder
 * and TOOL_DIRS lie over them, and all of it goes again; seen by those who use it: the API, runs, and agents in their sandboxes.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { type Files, folder, repository, SKILL, type TestRepository, write } from '../../runtime/overlays/testing.ts';
import { type Service, startService } from '../support/firewall.ts';
import { eventually } from '../support/wait.ts';
import { type Server, startServer } from './server.ts';

const PATIENCE = { timeoutMs: 60_000 };
const closing: (() => unknown)[] = [];
/** Calls that wait for the service. */
const held: (() => void)[] = [];
let service: Service;
let repo: TestRepository;
let top: string;
let own: string;
let server: Server;

before(async () => {
  const made = { after: (end: () => unknown) => void closing.push(end) };
  service = await startService((_request, response) => void held.push(() => void response.end()));
  repo = repository(made);
  [top, own] = [folder(made), folder(made)];
  const settings = folder(made, {
    'service.pem': service.caPem,
    'centaur.yaml': `egress:\n  allow_cidrs: [127.0.0.1]\n  ports: [${service.port}]\n  ca_files: [service.pem]\ntools: {built_in: false}\n`,
  });
  server = await startServer({
    env: {
      CENTAUR_CONFIG: path.join(settings, 'centaur.yaml'),
      CENTAUR_OVERLAYS: `${repo.url}#main,${top}`,
      TOOL_DIRS: own,
    },
    samples: [],
  });
});
after(async () => {
  await server[Symbol.asyncDispose]();
  await service[Symbol.asyncDispose]();
  for (const end of closing) await end();
});

const tool = (word: string): string => `import { defineTool, method } from '@centaur/sdk';
export default defineTool({
  description: 'Says ${word}.',
  hosts: ['localhost:${service.port}'],
  timeout: '10m',
  methods: {
    say: method({ description: 'Says it.', risk: 'read', run: () => '${word}' }),
    hold: method({
      description: 'Says it when the service has answered.',
      risk: 'read',
      async run() {
        await (await fetch('https://localhost:${service.port}/')).text();
        return '${word}';
      },
    }),
  },
});
`;

const workflow = (word: string): string => `export const WORKFLOW_NAME = 'report';
export async function handler({ method }, ctx) {
  return '${word}, tool ' + (await ctx.callTool('clock', method));
}
`;

/** One of each kind. */
const filesOf = (word: string): Files => ({
  'tools/clock/tool.ts': tool(word),
  'workflows/report.ts': workflow(word),
  '.agents/skills/tea/SKILL.md': SKILL('tea', `Skill ${word}.`),
  'personas/guide.md': `Persona ${word}.`,
  'SYSTEM_PROMPT.md': `System ${word}.`,
});

// oxlint-disable-next-line typescript/no-explicit-any -- answers of many shapes
type Answer = any;

async function ask(method: string, at: string, body?: object): Promise<Answer> {
  const key = readFileSync(path.join(server.place.env['CENTAUR_HOME'] as string, 'admin.key'), 'utf8').trim();
  const response = await fetch(server.url + at, {
    method,
    headers: { 'x-api-key': key, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return response.json();
}

const call = async (method: string): Promise<Answer> => (await ask('POST', `/tools/clock/${method}`, {})).result;

async function run(method: string): Promise<Answer> {
  const { run_id } = await ask('POST', '/workflows/runs', { workflow_name: 'report', input: { method } });
  return (await server.ended(run_id)).result;
}

/** What the shell of an agent's sandbox has printed. */
async function shell(thread: string, line: string, ...args: readonly string[]): Promise<string> {
  const turn = JSON.parse(await server.centaur('threads', 'send', thread, `run: ${line}`, '--wait', '--json', ...args));
  return turn.result_text;
}

const LOOK = 'cat .agents/skills/tea/SKILL.md; centaur-tools call clock say';

/** What is in service now, of each kind. */
async function everything(thread: string): Promise<Readonly<Record<string, unknown>>> {
  const [said, ended, inside] = [await call('say'), await run('say'), await shell(thread, LOOK, '--persona', 'guide')];
  const { parts, persona } = JSON.parse(await server.centaur('threads', 'prompt', thread, '--json'));
  const told = (kind: string) => parts.filter((part: Answer) => part.kind === kind).map(({ text }: Answer) => text);
  return {
    tool: said,
    workflow: ended,
    skill: /Skill (\w+)\./.exec(inside)?.[1],
    tool_in_sandbox: inside.trim().split(/\s+/).at(-1),
    persona: [persona.name, ...told('persona')],
    system: told('system'),
  };
}

/** What there is by name, and what the tool says of itself. */
async function names(): Promise<string> {
  const [tools, workflows] = await Promise.all([ask('GET', '/tools'), ask('GET', '/workflows')]);
  return [...tools.items.map((each: Answer) => each.description), ...workflows.items.map((each: Answer) => each.name)].join();
}

const empty = (place: string) => readdirSync(place).forEach((name) => rmSync(path.join(place, name), { recursive: true }));

const inService = (expected: string) => eventually(async () => (await names()) === expected, { ...PATIENCE, what: expected });

test('each kind of thing is added, hidden and removed while the server runs', { timeout: 600_000 }, async () => {
  assert.equal(await names(), '');
  assert.doesNotMatch(await shell('long', 'ls .agents/skills; centaur-tools list'), /tea|clock/);

  repo.commit(filesOf('one'));
  assert.match(await server.centaur('overlays', 'update'), / -> /);
  await inService('Says one.,report');
  assert.deepEqual(await everything('first'), {
    tool: 'one',
    workflow: 'one, tool one',
    skill: 'one',
    tool_in_sandbox: 'one',
    persona: ['guide', 'Persona one.'],
    system: ['System one.'],
  });
  // the sandbox is the one that was there before
  assert.match(await shell('long', LOOK), /Skill one\.[^]*one\s*$/);

  write(top, filesOf('two'));
  await inService('Says two.,report');
  await eventually(async () => (await server.centaur('overlays', 'ls')).includes('persona guide: of'), PATIENCE);
  await eventually(async () => (await run('say')) === 'two, tool two', { ...PATIENCE, what: 'the workflow of the second layer' });
  assert.deepEqual(await everything('second'), {
    tool: 'two',
    workflow: 'two, tool two',
    skill: 'two',
    tool_in_sandbox: 'two',
    persona: ['guide', 'Persona two.'],
    system: ['System one.', 'System two.'],
  });
  // a thread keeps the persona that it was given
  const { parts } = JSON.parse(await server.centaur('threads', 'prompt', 'first', '--json'));
  assert.ok(parts.some(({ text }: Answer) => text === 'Persona one.'));

  write(own, { 'clock/tool.ts': tool('three') });
  await inService('Says three.,report');
  assert.deepEqual([await call('say'), await run('say')], ['three', 'two, tool three']);
  assert.match(await shell('long', LOOK), /Skill two\.[^]*three\s*$/);

  empty(own);
  await inService('Says two.,report');
  empty(top);
  await inService('Says one.,report');
  await eventually(async () => !(await server.centaur('overlays', 'ls')).includes('hides'), PATIENCE);
  assert.match(await shell('long', LOOK), /Skill one\.[^]*one\s*$/);

  repo.git(['rm', '-rq', ...Object.keys(filesOf(''))]);
  repo.commit({});
  assert.match(await server.centaur('overlays', 'update'), / -> /);
  await inService('');
  assert.doesNotMatch(await shell('long', 'ls .agents/skills; centaur-tools list'), /tea|clock/);
  const prompt = JSON.parse(await server.centaur('threads', 'prompt', 'long', '--json'));
  assert.deepEqual([prompt.parts, prompt.skills, prompt.tools], [[], [], []]);
  const refused = await server.place.run(['threads', 'send', 'third', 'say: hello', '--persona', 'guide']);
  assert.deepEqual([refused.code, /there is no persona "guide"/.test(refused.stderr)], [1, true]);
  assert.equal((await ask('POST', '/tools/clock/say', {})).code, 'TOOL_NOT_FOUND');
  assert.equal((await ask('POST', '/workflows/runs', { workflow_name: 'report', input: { method: 'say' } })).code, 'UNKNOWN_WORKFLOW');
});

test('an update drops no call that is under way, and each ends with the code that it began with', { timeout: 600_000 }, async () => {
  [own, top].forEach(empty);
  repo.commit(filesOf('old'));
  await server.centaur('overlays', 'update');
  await inService('Says old.,report');
  held.length = 0;
  const underWay = [call('hold'), run('hold'), shell('held', 'centaur-tools call clock hold')];
  await eventually(() => held.length === underWay.length, { ...PATIENCE, what: 'three calls at the service' });

  repo.commit(filesOf('new'));
  await server.centaur('overlays', 'update');
  await inService('Says new.,report');
  assert.equal(await call('say'), 'new');
  await eventually(async () => (await run('say')) === 'new, tool new', { ...PATIENCE, what: 'the new workflow' });

  // also when there is nothing of that name any more
  repo.git(['rm', '-rq', 'tools', 'workflows']);
  repo.commit({});
  await server.centaur('overlays', 'update');
  await inService('');
  for (const answer of held) answer();
  const [called, ended, told] = await Promise.all(underWay);
  assert.deepEqual([called, ended, /old\s*$/.test(told)], ['old', 'old, tool old', true]);
  assert.equal(held.length, underWay.length);
});
