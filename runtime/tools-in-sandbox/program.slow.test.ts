/** `centaur-tools` as a process, against a server over HTTP; and how it reads flags. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createToolsServer, ToolRefused, type ToolsServer } from '../../test/support/tools-server.ts';
import { toolFiles } from './index.ts';
import { parseFlags, shapeOf } from './flags.ts';
import { writeCommands } from './program.ts';
import { Refusal } from './refusal.ts';

const TOKEN = 'ct_of-this-thread';
const SCHEMA = {
  type: 'object',
  properties: {
    title: { type: 'string', description: 'What it is about.\nMore.' },
    count: { type: 'integer' },
    ratio: { type: 'number' },
    draft: { type: 'boolean', default: false },
    labels: { type: 'array', items: { type: 'string' } },
    ids: { type: 'array', items: { type: 'integer' } },
    state: { enum: ['open', 'closed'] },
    due: { anyOf: [{ type: 'string' }, { type: 'null' }] },
    size: { anyOf: [{ type: 'integer' }, { const: 'all' }] },
    either: { type: ['string', 'integer'] },
    place: { $ref: '#/$defs/place' },
    issue_number: { type: 'integer' },
    anything: {},
  },
  $defs: { place: { type: 'object', properties: { city: { type: 'string' } } } },
  required: ['title'],
  additionalProperties: false,
};

const folder = mkdtempSync(join(tmpdir(), 'centaur-tools-'));
const inside = toolFiles(folder);
let server: ToolsServer;
let refusal: ToolRefused | Error | undefined;

before(async () => {
  for (const { path, content } of inside.files) writeFileSync(path, content);
  const methods = {
    create: {
      description: 'Makes an issue.\nIn detail.',
      risk: 'write',
      input: SCHEMA,
      run(args: object) {
        if (refusal !== undefined) throw refusal;
        return { made: args };
      },
    },
    text: { description: 'Says a text.', run: () => 'two\nlines' },
    nothing: { description: 'Does nothing.', run: () => null },
  };
  server = await createToolsServer(
    { tracker: { description: 'Issues.', methods }, sh: { description: 'Named like a shell.', missing_secrets: ['SH_KEY'], methods } },
    (token) => token === TOKEN,
  );
});
after(async () => {
  rmSync(folder, { recursive: true });
  await server[Symbol.asyncDispose]();
});

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

async function run(given: readonly string[], more: Readonly<Record<string, string>> = {}, input = ''): Promise<Ran> {
  const env = { PATH: `${process.env.PATH}:${inside.bin}`, CENTAUR_API_URL: server.url, CENTAUR_API_KEY: TOKEN, ...more };
  const [command, ...rest] =
    given[0] === 'tracker' ? [join(inside.bin, 'tracker'), ...given.slice(1)] : [process.execPath, inside.program, ...given];
  const child = spawn(command, rest, { env, stdio: 'pipe' });
  const ran = { out: '', err: '' };
  child.stdout.on('data', (data: Buffer) => (ran.out += data.toString()));
  child.stderr.on('data', (data: Buffer) => (ran.err += data.toString()));
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, ...ran };
}

const refused = (given: readonly string[], pattern: RegExp) =>
  assert.throws(
    () => parseFlags(SCHEMA, given),
    (error) => error instanceof Refusal && error.exitCode === 2 && pattern.test(error.message),
  );

test('flags get the types that the schema says', () => {
  const parse = (...given: string[]) => parseFlags(SCHEMA, ['--title', 't', ...given]);
  const cases: [string[], object][] = [
    [['--count', '3'], { count: 3 }],
    [['--count=-3'], { count: -3 }],
    [['--count', '-3'], { count: -3 }],
    [['--ratio', '2'], { ratio: 2 }],
    [['--draft'], { draft: true }],
    [['--draft', '--count', '1'], { draft: true, count: 1 }],
    [['--draft', 'false'], { draft: false }],
    [['--no-draft'], { draft: false }],
    [['--labels', 'a', '--labels', '7'], { labels: ['a', '7'] }],
    [['--labels', '["a","b"]', '--labels', '[c'], { labels: ['a', 'b', '[c'] }],
    [['--ids', '7'], { ids: [7] }],
    [['--state', 'open'], { state: 'open' }],
    [['--due', 'null'], { due: null }],
    [['--due', '2026'], { due: '2026' }],
    [['--size', '2'], { size: 2 }],
    [['--either', '7'], { either: 7 }],
    [['--either', 'seven'], { either: 'seven' }],
    [['--place', '{"city":"Ulm"}'], { place: { city: 'Ulm' } }],
    [['--issue-number', '9'], { issue_number: 9 }],
    [['--anything', '[1]'], { anything: [1] }],
    [['--anything', 'word'], { anything: 'word' }],
    [['--json', '{"count":1,"ratio":2}', '--count', '5'], { count: 5, ratio: 2 }],
  ];
  for (const [given, expected] of cases) assert.deepEqual(parse(...given), { title: 't', ...expected }, given.join(' '));
  assert.deepEqual(parseFlags(SCHEMA, ['--title=--x']), { title: '--x' });
});

test('what is wrong is said of the flag', () => {
  refused(['--title', 't', '--count', 'three'], /^--count must be a whole number, not three$/);
  refused(['--title', 't', '--count', '1.5'], /^--count must be a whole number/);
  refused(['--title', 't', '--draft', 'perhaps'], /^perhaps: arguments are given by name/);
  refused(['--title', 't', '--state', 'ajar'], /^--state must be one of open, closed, not ajar$/);
  refused(['--title', 't', '--place', 'Ulm'], /^--place must be an object in JSON, not Ulm$/);
  refused(['--title', 't', '--ids', 'x'], /^--ids must be a whole number/);
  refused(['--title', 't', '--size', '2', '--size', '3'], /^--size is given twice$/);
  refused(['--title', 't', '--colour', 'red'], /^there is no --colour: there are --title, --count/);
  refused(['--title', '--count', '3'], /^--title needs a value/);
  refused(['--count', '3'], /^missing: --title$/);
  refused(['--json', '[]'], /^--json is not a JSON object$/);
  refused(['word'], /^word: arguments are given by name/);
});

test('a schema that refers to itself comes to an end', () => {
  const schema = {
    type: 'object',
    properties: { tree: { $ref: '#/$defs/list' }, loop: { $ref: '#/$defs/loop' }, either: { $ref: '#/$defs/either' } },
    $defs: {
      list: { type: 'array', items: { $ref: '#/$defs/list' } },
      loop: { $ref: '#/$defs/loop' },
      either: { anyOf: [{ $ref: '#/$defs/either' }, { $ref: '#/$defs/either' }, { type: 'integer' }] },
    },
    required: ['constructor'],
  };
  assert.equal(shapeOf(schema, schema.properties.tree), 'JSON[] (more than once, or a list in JSON)');
  assert.equal(shapeOf(schema, schema.properties.either), 'integer');
  assert.deepEqual(parseFlags({ ...schema, required: [] }, ['--either', '3', '--loop', 'x']), { either: 3, loop: 'x' });
  assert.throws(() => parseFlags(schema, []), /missing: --constructor/);
});

test('a schema that takes more takes any flag', () => {
  assert.deepEqual(parseFlags({ type: 'object', additionalProperties: true }, ['--a', '1', '--b', 'c']), { a: 1, b: 'c' });
  assert.deepEqual(parseFlags({ type: 'object', additionalProperties: { type: 'string' } }, ['--a', '1']), { a: '1' });
});

test('commands are made of tools whose names are free, and removed with them', () => {
  const own = mkdtempSync(join(folder, 'own-'));
  const elsewhere = mkdtempSync(join(folder, 'elsewhere-'));
  const file = join(own, 'tools.mjs');
  writeFileSync(join(elsewhere, 'taken'), '#!/bin/sh\n');
  chmodSync(join(elsewhere, 'taken'), 0o755);
  const names = ['mine', 'taken', 'cd', 'ls', 'centaur-tools', '../x', '.x', 'theirs'];
  mkdirSync(join(own, 'bin'));
  writeFileSync(join(own, 'bin/theirs'), 'not ours\n');
  assert.deepEqual([...writeCommands(names, file, elsewhere)], ['mine']);
  assert.deepEqual(readdirSync(join(own, 'bin')).toSorted(), ['centaur-tools', 'mine', 'theirs']);
  // once more: what is ours is no program that exists
  assert.deepEqual([...writeCommands(['mine', 'other'], file, `${elsewhere}:${join(own, 'bin')}`)], ['mine', 'other']);
  assert.deepEqual([...writeCommands(['other'], file, elsewhere)], ['other']);
  assert.deepEqual(readdirSync(join(own, 'bin')).toSorted(), ['centaur-tools', 'other', 'theirs']);
  assert.equal(readFileSync(join(own, 'bin/theirs'), 'utf8'), 'not ours\n');
});

test('it lists tools, and makes their commands', async () => {
  const { code, out } = await run(['list']);
  assert.equal(code, 0);
  assert.match(out, /^sh {6} Named like a shell\. \(as: centaur-tools sh; not ready: SH_KEY is missing\)\ntracker {2}Issues\.\n/);
  assert.ok(existsSync(join(inside.bin, 'tracker')) && !existsSync(join(inside.bin, 'sh')));
  const [sh, tracker] = JSON.parse((await run(['list', '--json'])).out);
  assert.deepEqual([sh.command, tracker.command, tracker.methods], [false, true, ['create', 'text', 'nothing']]);
});

test('it tells how a tool is called', async () => {
  await run(['refresh', 'tracker']);
  const tool = await run(['tracker', '--help']);
  assert.deepEqual([tool.code, (await run(['help', 'tracker'])).out], [0, tool.out]);
  assert.match(tool.out, /^tracker: Issues\.\n\n {2}create {3}Makes an issue\. \[write\]\n/);
  const method = await run(['help', 'tracker', 'create']);
  assert.equal((await run(['tracker', 'create', '--help'])).out, method.out);
  assert.match(method.out, /centaur-tools call tracker create --title string \[--key value \.\.\.\]/);
  assert.match(method.out, /^ {2}--title string +What it is about\.; required$/m);
  assert.match(method.out, /^ {2}--draft boolean +default false$/m);
  assert.match(method.out, /^ {2}--state open\|closed$/m);
});

test('it calls: with flags, with JSON, and with what is on its input', async () => {
  await run(['refresh', 'tracker']);
  const expected = { code: 0, out: '{"made":{"title":"x","count":3}}\n', err: '' };
  assert.deepEqual(await run(['tracker', 'create', '--title', 'x', '--count', '3']), expected);
  assert.deepEqual(await run(['call', 'tracker', 'create', '{"title":"x","count":3}']), expected);
  assert.deepEqual(await run(['tracker', 'create', '-'], {}, '{"title":"x","count":3}'), expected);
  assert.equal((await run(['tracker', 'text'])).out, 'two\nlines\n');
  assert.equal((await run(['tracker', 'nothing'])).out, 'null\n');
});

test('the exit code tells who has to do something', async () => {
  const call = async (error?: Error): Promise<Ran> => {
    refusal = error;
    const ran = await run(['call', 'tracker', 'create', '{"title":"x"}']);
    refusal = undefined;
    return ran;
  };
  assert.equal((await call(new ToolRefused(502, 'TOOL_FAILED', 'it broke'))).code, 1);
  assert.equal((await call(new ToolRefused(422, 'TOOL_REFUSED', 'no such repository'))).code, 1);
  const issues = [{ path: 'count', message: 'expected a number' }];
  const invalid = await call(new ToolRefused(422, 'INVALID_ARGUMENTS', 'the arguments do not fit', { issues }));
  assert.deepEqual(invalid, {
    code: 2,
    out: '',
    err: 'tracker create: the arguments do not fit (INVALID_ARGUMENTS)\n  --count: expected a number\n',
  });
  const asked = await call(new ToolRefused(403, 'APPROVAL_REQUIRED', 'a person must approve this', { approval_id: 'a-1', gate: 'ops' }));
  assert.equal(asked.code, 3);
  assert.match(asked.err, /A person has been asked \(a-1, gate ops\)\. Make the same call again when it has been approved\./);
  assert.equal((await call(new ToolRefused(403, 'POLICY_DENIED', 'no'))).code, 3);
  assert.equal((await call(new ToolRefused(503, 'TOOL_NOT_READY', 'SH_KEY is missing'))).code, 3);
  assert.equal((await run(['list'], { CENTAUR_API_KEY: 'ct_other' })).code, 3);
  assert.equal((await run(['list'], { CENTAUR_API_KEY: '', CENTAUR_API_URL: 'http://127.0.0.1:2' })).code, 3);
  assert.equal((await run(['call', 'nobody', 'create', '{}'])).code, 2);
  assert.equal((await run(['call', 'tracker', 'nothing-like-it'])).code, 2);
  assert.equal((await run(['--nonsense'])).code, 2);
});

test('it asks directly, whatever is said about proxies', async () => {
  const proxy = 'http://127.0.0.1:2';
  const { code } = await run(['list'], { HTTP_PROXY: proxy, http_proxy: proxy, NODE_USE_ENV_PROXY: '1' });
  assert.equal(code, 0);
});
