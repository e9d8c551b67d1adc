/**
 * What every harness must do, as short conversations with the scripted model server: the same for the demo harness, in
 * `npm test`, and for the real CLIs, in `npm run test:harnesses`.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createModelServer, type ModelServer } from '../../examples/model-server/index.ts';
import { harnesses, type ErrorClass, type HarnessEvent, type HarnessKind, type LaunchOptions } from '../../runtime/harness/index.ts';
import { startProxied } from './proxied.ts';
import { toolFiles } from '../../runtime/tools-in-sandbox/index.ts';
import { createToolsServer, type ToolsServer } from '../support/tools-server.ts';
import { eventually } from '../support/wait.ts';
import { drive, moveSession, type Completed, type Driven, type DriveOptions, type Installed, type Place } from './drive.ts';

export interface Scenario {
  readonly name: string;
  /** Why it is not for this one. */
  skip?(kind: HarnessKind): string | undefined;
  run(lab: Lab): Promise<void>;
}

export interface Lab {
  readonly cli: Installed;
  readonly server: ModelServer;
  readonly place: Place;
  /** An empty home, and a working folder of the same path. */
  newHome(): Place;
  start(options?: Partial<DriveOptions>, place?: Place): Promise<Driven>;
  close(): Promise<void>;
}

/** There is neither sandbox nor firewall here: the CLI holds the key itself. */
const KEY = 'key-of-the-scripted-model';
/** Nobody listens there. */
const NOWHERE = 'http://127.0.0.1:2';
const WRONG_KEY = 'sk-ant-placeholder-000';

/** One CLI in a folder of its own, with a model server of its own. Whatever it started ends with it. */
export async function createLab(cli: Installed): Promise<Lab> {
  // Codex warns about a home in the system's temporary folder, and goes on
  const root = mkdtempSync(join(tmpdir(), 'centaur-harness-'));
  const server = await createModelServer({ key: KEY });
  const started: Driven[] = [];
  let homes = 0;
  const newHome = (): Place => {
    homes += 1;
    const [home, cwd] = [join(root, `home-${homes}`), join(root, 'workspace')];
    for (const folder of [home, cwd]) mkdirSync(folder, { recursive: true });
    return { home, cwd };
  };
  const place = newHome();
  return {
    cli,
    server,
    place,
    newHome,
    async start(options = {}, where = place) {
      const driven = await drive(cli, where, { approvals: 'none', upstream: { placeholder: KEY, baseUrl: server.url }, ...options });
      started.push(driven);
      return driven;
    },
    async close() {
      try {
        for (const driven of started) await driven.close();
      } finally {
        for (const driven of started) driven.signal('SIGKILL');
        await server.close();
        rmSync(root, { recursive: true, force: true, maxRetries: 10 });
      }
    },
  };
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'text',
    async run(lab) {
      const agent = await lab.start();
      agent.turn('say: a plain answer');
      completed(await agent.end(), 'a plain answer');
      assert.equal(joined(agent, 'text.delta'), 'a plain answer');
      assert.ok(
        agent.events.some(({ type }) => type === 'usage'),
        'no usage',
      );
      assert.ok(agent.session, 'no session');
    },
  },
  {
    name: 'thinking',
    async run(lab) {
      const agent = await lab.start();
      agent.turn('think: let me see\nsay: seen');
      completed(await agent.end(), 'seen');
      assert.equal(joined(agent, 'thinking.delta'), 'let me see');
    },
  },
  {
    name: 'tool',
    async run(lab) {
      const agent = await lab.start();
      agent.turn('run: echo $((6 * 7)) from the tool');
      completed(await agent.end(), '42 from the tool');
      const [use, result] = [await agent.see('tool_use'), await agent.see('tool_result')];
      assert.equal(result.id, use.id);
      assert.equal(result.is_error, false);
      assert.match(JSON.stringify(result.content), /42 from the tool/);
    },
  },
  {
    name: 'two turns',
    async run(lab) {
      const agent = await lab.start();
      agent.turn('say: one');
      completed(await agent.end(), 'one');
      agent.turn('recall');
      completed(await agent.end(), 'say: one');
    },
  },
  {
    name: 'resume in an empty home',
    async run(lab) {
      const first = await lab.start();
      first.turn('say: remember the 17th');
      completed(await first.end(), 'remember the 17th');
      const { session = '' } = first;
      await first.close();
      const there = lab.newHome();
      assert.notDeepEqual(moveSession(lab.cli.kind, session, lab.place, there), [], 'nothing was packed');
      const second = await lab.start({ resume: session }, there);
      second.turn('recall');
      completed(await second.end(), 'remember the 17th');
      assert.equal(second.session, session);
    },
  },
  {
    name: 'image',
    async run(lab) {
      const agent = await lab.start();
      agent.turn([
        { type: 'text', text: 'what is in this picture?' },
        { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PIXEL } },
      ]);
      assert.equal((await agent.end()).result_text, 'You said: what is in this picture? (with 1 attachment)');
    },
  },
  {
    name: 'interrupt in text',
    async run(lab) {
      const agent = await lab.start();
      // longer than anybody waits for its end
      agent.turn('slow: 3000');
      await agent.see('text.delta');
      agent.interrupt();
      assert.equal((await agent.end()).status, 'interrupted');
      agent.turn('say: and on');
      completed(await agent.end(), 'and on');
    },
  },
  {
    name: 'interrupt in a tool, no orphan',
    async run(lab) {
      const agent = await lab.start();
      const held = join(lab.place.cwd, 'held');
      agent.turn(`run: touch held; tail -f ${held}`);
      await agent.see('tool_use');
      await eventually(() => processes(held).length > 0);
      await pause(500);
      agent.interrupt();
      assert.equal((await agent.end()).status, 'interrupted');
      assert.equal((await agent.see('tool_result')).is_error, true);
      await eventually(() => processes(held).length === 0);
      agent.turn('say: and on');
      completed(await agent.end(), 'and on');
      // nothing of the call that was interrupted is told again
      assert.equal(agent.events.filter(({ type }) => type === 'tool_use').length, 1);
    },
  },
  {
    name: 'steer in a tool',
    skip: withoutSteering,
    async run(lab) {
      const agent = await lab.start();
      agent.turn('run: sleep 5; echo slept');
      await agent.see('tool_use');
      agent.steer('say: steered');
      assert.equal((await agent.end()).result_text, 'steered');
      assert.equal(agent.events.filter(({ type }) => type === 'turn.completed').length, 1);
    },
  },
  {
    name: 'steer in text',
    skip: withoutSteering,
    async run(lab) {
      const agent = await lab.start();
      agent.turn('slow: 60');
      await agent.see('text.delta');
      agent.steer('say: steered');
      assert.equal((await agent.end()).result_text, 'steered');
      assert.equal(agent.events.filter(({ type }) => type === 'turn.completed').length, 1);
    },
  },
  {
    name: 'approval: allowed, denied',
    skip: withoutApprovals,
    async run(lab) {
      const agent = await lab.start({ approvals: 'ask' });
      for (const [file, allow] of [
        ['allowed', true],
        ['denied', false],
      ] as const) {
        agent.turn(`run: touch ${file}.txt\nsay: done with it`);
        const { id, tool_use_id } = await agent.see('approval.request');
        assert.equal(tool_use_id, (await agent.see('tool_use')).id);
        assert.equal(existsSync(join(lab.place.cwd, `${file}.txt`)), false);
        agent.answer(id, allow ? { allow } : { allow, message: 'not today' });
        completed(await agent.end(), 'done with it');
        assert.equal(existsSync(join(lab.place.cwd, `${file}.txt`)), allow);
        assert.equal((await agent.see('approval.resolved')).allowed, allow);
        assert.equal((await agent.see('tool_result')).is_error, !allow);
      }
    },
  },
  {
    name: 'interrupt while it asks',
    skip: withoutApprovals,
    async run(lab) {
      const agent = await lab.start({ approvals: 'ask' });
      agent.turn('run: touch asked.txt');
      await agent.see('approval.request');
      agent.interrupt();
      assert.equal((await agent.end()).status, 'interrupted');
      assert.equal((await agent.see('approval.resolved')).allowed, false);
      agent.turn('say: and on');
      completed(await agent.end(), 'and on');
      assert.equal(existsSync(join(lab.place.cwd, 'asked.txt')), false);
    },
  },
  {
    name: 'a tool of the platform, which the platform alone decides about',
    async run(lab) {
      await using server = await startTools();
      const agent = await lab.start({ ...useTools(lab.place, server), approvals: 'ask' });
      agent.turn('tool: mcp__centaur__housekeeping_read {"number":7}\nsay: read it');
      completed(await agent.end(), 'read it');
      const [use, result] = [await agent.see('tool_use'), await agent.see('tool_result')];
      assert.deepEqual([use.name, use.input], ['mcp:centaur/housekeeping_read', { number: 7 }]);
      assert.equal(result.is_error, false);
      assert.match(JSON.stringify(result.content), /the door squeaks/);
      agent.turn('tool: mcp__centaur__housekeeping_read {"number":404}\nsay: it is not there');
      completed(await agent.end(), 'it is not there');
      const failed = await agent.see('tool_result');
      assert.equal(failed.is_error, true);
      assert.match(JSON.stringify(failed.content), /no issue 404/);
      assert.ok(!agent.events.some(({ type }) => type === 'approval.request'), 'somebody was asked');
      await agent.close();
      assert.deepEqual(filesWith(lab.place.home, TOOLS_TOKEN), [], 'the token is in a file');
    },
  },
  {
    name: 'a tool of the platform, as a command',
    async run(lab) {
      await using server = await startTools();
      const agent = await lab.start(useTools(lab.place, server));
      agent.turn('run: housekeeping read --number 7; centaur-tools list; housekeeping read --number seven; echo exit code $?');
      await agent.end();
      const said = JSON.stringify((await agent.see('tool_result')).content);
      assert.match(said, /the door squeaks/);
      assert.match(said, /housekeeping  Issues of a house/);
      assert.match(said, /--number must be a whole number.*exit code 2/);
    },
  },
  {
    name: 'a key that is refused (401)',
    run: (lab) => fails(lab, 'say: hello', 'auth', 401, { upstream: { placeholder: WRONG_KEY, baseUrl: lab.server.url } }),
  },
  { name: 'refused by the firewall (403)', run: (lab) => fails(lab, 'error: 403', 'policy', 403) },
  { name: 'rate limit (429)', run: (lab) => fails(lab, 'error: 429', 'rate_limit', 429) },
  { name: 'server error (500)', run: (lab) => fails(lab, 'error: 500', 'overloaded') },
  {
    name: 'a model that is not there',
    run: (lab) => fails(lab, 'say: hello', 'network', undefined, { upstream: { placeholder: KEY, baseUrl: NOWHERE } }),
  },
  {
    name: 'a stream that is cut',
    async run(lab) {
      const agent = await lab.start();
      agent.turn('cut');
      const { status } = await agent.end();
      // Claude asks once more without streaming, and gets its answer
      assert.equal(status, lab.cli.kind === 'claude' ? 'completed' : 'failed');
      if (status === 'failed') assert.equal((await agent.see('error', ({ fatal }) => fatal)).class, 'network');
      agent.turn('say: and on');
      completed(await agent.end(), 'and on');
    },
  },
  {
    name: 'over HTTPS, through a proxy',
    async run(lab) {
      await using way = await startProxied(KEY, join(lab.place.home, '..', 'certificates'));
      const agent = await lab.start({
        upstream: { placeholder: KEY, baseUrl: way.baseUrl },
        proxy: { url: way.proxyUrl, caFile: way.caFile },
      });
      agent.turn('run: echo through\nsay: done');
      completed(await agent.end(), 'done');
      assert.deepEqual([...new Set(way.asked)], [way.baseUrl.replace('https://', '')], 'it asked for others, or for nobody');
      const basic = `Basic ${Buffer.from('lease:token').toString('base64')}`;
      assert.deepEqual([...new Set(way.credentials)], [basic]);
      await agent.close();
    },
  },
  {
    name: 'killed in a tool',
    async run(lab) {
      const agent = await lab.start();
      const held = join(lab.place.cwd, 'held');
      agent.turn(`run: touch held; tail -f ${held}`);
      await eventually(() => processes(held).length > 0);
      agent.signal('SIGKILL');
      const { status, error } = await agent.end();
      assert.equal(status, 'crashed');
      assert.match(error ?? '', /SIGKILL/);
      // what is left of others is their sandbox's to kill: their commands leave the group of processes
      if (lab.cli.kind === 'demo') await eventually(() => processes(held).length === 0);
      else for (const pid of processes(held)) process.kill(pid, 'SIGKILL');
    },
  },
  {
    name: 'garbage among its lines',
    async run(lab) {
      const agent = await lab.start();
      agent.turn('run: echo through the noise');
      agent.inject('', 'null', '{"type":', '[[[[', '{"type":"result"', '\u0000\uFFFD', '{"method":7}', 'x'.repeat(1_000_000));
      await agent.see('tool_use');
      agent.inject('{}', '{"type":42}', '{"id":99,"result":null}', '['.repeat(100_000));
      completed(await agent.end(), 'through the noise');
    },
  },
];

const TOOLS_TOKEN = 'ct_token-of-this-thread-alone';

function startTools(): Promise<ToolsServer> {
  const read = {
    description: 'Reads an issue.',
    input: { type: 'object', properties: { number: { type: 'integer' } }, required: ['number'] },
    run({ number }: Readonly<Record<string, unknown>>) {
      if (number === 404) throw new Error('there is no issue 404');
      return { number, title: 'the door squeaks' };
    },
  };
  return createToolsServer({ housekeeping: { description: 'Issues of a house', methods: { read } } }, (token) => token === TOOLS_TOKEN);
}

/** What a sandbox has of them, in a folder of this machine. */
function useTools({ home }: Place, { url }: ToolsServer): Partial<DriveOptions> {
  const inside = toolFiles(join(home, '.centaur'));
  mkdirSync(join(home, '.centaur'), { recursive: true });
  for (const { path, content } of inside.files) writeFileSync(path, content);
  const [, ...given] = inside.makeCommands(['housekeeping']);
  assert.equal(spawnSync(process.execPath, given, { stdio: 'inherit' }).status, 0);
  return {
    tools: { url: `${url}/mcp`, tokenVariable: 'CENTAUR_API_KEY', program: inside.program, extension: inside.extension },
    surroundings: { CENTAUR_API_URL: url, CENTAUR_API_KEY: TOOLS_TOKEN, PATH: `${process.env.PATH}:${inside.bin}` },
  };
}

function filesWith(folder: string, words: string): string[] {
  return spawnSync('grep', ['-rlF', words, folder], { encoding: 'utf8' })
    .stdout.split('\n')
    .filter((line) => line !== '');
}

function withoutApprovals(kind: HarnessKind): string | undefined {
  return harnesses[kind].capabilities.approvals ? undefined : 'it asks nobody';
}

function withoutSteering(kind: HarnessKind): string | undefined {
  return harnesses[kind].capabilities.steer === 'none' ? 'it takes no steering' : undefined;
}

async function fails(lab: Lab, prompt: string, kind: ErrorClass, http?: number, options: Partial<LaunchOptions> = {}): Promise<void> {
  const agent = await lab.start(options);
  agent.turn(prompt);
  assert.equal((await agent.end()).status, 'failed');
  const error = await agent.see('error', ({ fatal }) => fatal);
  assert.equal(error.class, kind);
  if (http !== undefined) assert.equal(error.http, http);
}

function completed({ status, result_text, error }: Completed, words: string): void {
  assert.equal(status, 'completed', error);
  assert.ok(result_text.includes(words), `${JSON.stringify(words)} is not in the answer: ${result_text.slice(0, 500)}`);
}

function joined({ events }: Driven, type: 'text.delta' | 'thinking.delta'): string {
  return events.flatMap((event: HarnessEvent) => (event.type === type ? [event.text] : [])).join('');
}

/** The processes that hold the file open with `tail -f`. */
function processes(held: string): number[] {
  const { stdout } = spawnSync('ps', ['-axo', 'pid,args'], { encoding: 'utf8' });
  return stdout.split('\n').flatMap((line) => {
    const [, pid, args] = /^\s*(\d+) (.*)$/.exec(line.trimEnd()) ?? [];
    return args === `tail -f ${held}` ? [Number(pid)] : [];
  });
}

/** A PNG of one pixel. */
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
